"""See, add and lift suppressions: addresses that a tenant's notifications are not sent to."""

import hashlib
import uuid
from dataclasses import dataclass

from sqlalchemy import Connection

from notifier.errors import (
    InvalidAddress,
    InvalidValue,
    NotFoundError,
    RecipientsWord,
    UnknownTenant,
)
from notifier.log import logger
from notifier.store import addresses, suppressions, system, tenants
from notifier.store.suppressions import RECIPIENTS_WORD, Place, Suppression
from notifier.words import Channel, Severity

log = logger("suppressions")

MOST = 1000
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Lifted:
    """reason: of the suppression; None where there were retired contact points alone.

    contact_points: how many can be used again.
    """

    reason: str | None
    contact_points: int


def listed(
    connection: Connection,
    *,
    tenant: uuid.UUID | None = None,
    channel: Channel | None = None,
    address: str | None = None,
    after: Place | None = None,
    limit: int = 100,
) -> tuple[list[Suppression], Place | None]:
    """What fits everything given, the newest first, and the `after` of the next page, if any.

    limit: 1 to 1000. Raises `InvalidValue`.
    """
    if not 1 <= limit <= MOST:
        raise InvalidValue("limit", f"a number from 1 to {MOST}")
    return suppressions.listed(
        connection, tenant=tenant, channel=channel, address=address, after=after, limit=limit
    )


def add(
    connection: Connection,
    tenant: uuid.UUID,
    channel: Channel,
    address: str,
    reason: str,
    *,
    actor: str,
) -> bool:
    """Suppress an address for a tenant, in the caller's transaction; False where it is already.

    Events refuse it from their next fan-out on; what is on its way goes out. An address is one as
    it is written: `Ada@example.com` is not `ada@example.com`. Raises `InvalidAddress`,
    `InvalidValue` or `UnknownTenant` naming the field.
    """
    _check(connection, channel, address)
    if not 1 <= len(reason.strip()) <= LONGEST_REASON:
        raise InvalidValue("reason", f"1 to {LONGEST_REASON} characters that say why")
    if tenants.name_of(connection, tenant) is None:
        raise UnknownTenant("tenant", "the id of a tenant")
    is_new = suppressions.add(connection, tenant, channel, address, reason.strip())
    _tell("added", tenant, channel, address, actor=actor, is_new=is_new)
    return is_new


def lift(
    connection: Connection,
    tenant: uuid.UUID,
    channel: Channel,
    address: str,
    *,
    actor: str,
    override: bool = False,
) -> Lifted:
    """Send to an address again, in the caller's transaction: it is suppressed for that tenant no
    more, and the tenant's contact points that were retired with it can be used.

    override: lifts what the recipient said, too, which else raises `RecipientsWord`, and leaves a
    system event. Raises `NotFoundError` where nothing keeps the address from being sent to,
    `InvalidAddress` or `InvalidValue` naming the field.
    """
    _check(connection, channel, address)
    reason = suppressions.reason_of(connection, tenant, channel, address)
    if reason in RECIPIENTS_WORD and not override:
        expected = f"one that is not suppressed by its recipient's own word ({reason})"
        raise RecipientsWord("address", expected)
    # In the order in which an address is retired, else each could wait for the other.
    revived = suppressions.revive(connection, tenant, channel, address)
    if reason is not None:
        # What was written since, by a STOP that comes now, stays.
        suppressions.remove(connection, tenant, channel, address, reason)
        if reason in RECIPIENTS_WORD:
            detail = {"channel": channel, "address_sha256": _digest(address), "actor": actor}
            system.raise_event(
                connection, Severity.MEDIUM, "recipients_word_lifted", reason, detail, tenant
            )
    elif not revived:
        raise NotFoundError("address", "an address that is suppressed or retired for this tenant")
    _tell("lifted", tenant, channel, address, actor=actor, contact_points=revived)
    return Lifted(reason, revived)


def _check(connection: Connection, channel: Channel, address: str) -> None:
    if channel is Channel.INAPP:
        others = ", ".join(each for each in Channel if each is not Channel.INAPP)
        raise InvalidValue("channel", f"one of {others}")
    problem = addresses.problem(connection, channel, address)
    if problem is not None:
        raise InvalidAddress("address", problem)


def _tell(what: str, tenant: uuid.UUID, channel: Channel, address: str, **facts: object) -> None:
    """Say in the log who did it."""
    log.info(what, tenant=tenant, channel=channel, address_sha256=_digest(address), **facts)


def _digest(address: str) -> str:
    """Whether it was this address, told without it: logs hold no addresses."""
    return hashlib.sha256(address.encode()).hexdigest()
