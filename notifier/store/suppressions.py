"""Suppressions: addresses that a tenant's notifications are not sent to, and why."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from notifier.store.addresses import shown
from notifier.words import Channel

STOPPED = "replied STOP"
"""Written for every tenant that knows the address; the recipient's START takes it back."""
COMPLAINED = "complained"
UNSUBSCRIBED = "unsubscribed"

RECIPIENTS_WORD = (STOPPED, COMPLAINED, UNSUBSCRIBED)
"""Reasons that are what a recipient said: a tenant can not go back on it for them."""

_WORDS = ", ".join(f"'{word}'" for word in RECIPIENTS_WORD)
OUTWEIGHS = (
    "ON CONFLICT (tenant_id, channel, address) DO UPDATE SET reason = excluded.reason "
    f"WHERE excluded.reason IN ({_WORDS}) AND s.reason NOT IN ({_WORDS})"
)
"""SQL after `INSERT INTO notifier.suppressions AS s`: the recipient's word takes the place of any other
reason, and nothing else does."""

_MARK = (
    "encode(substring(sha256(convert_to(concat_ws(' ', s.tenant_id, s.channel, s.address), 'UTF8')) "
    "FROM 1 FOR 16), 'hex')"
)
_OF_ADDRESS = "tenant_id = %(tenant)s AND channel = %(channel)s AND address = %(address)s"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of the list ended. mark: 32 hexadecimal digits, which tell no address."""

    created_at: datetime
    mark: str


@dataclass(frozen=True, slots=True)
class Suppression:
    """address: None where it is a secret in itself."""

    tenant_id: uuid.UUID
    channel: Channel
    address: str | None
    reason: str
    created_at: datetime


def add(connection: Connection, tenant: uuid.UUID, channel: str, address: str, reason: str) -> bool:
    """Suppress an address; False where it is already, whose reason stays."""
    made = connection.exec_driver_sql(
        "INSERT INTO notifier.suppressions (tenant_id, channel, address, reason) "
        "VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (tenant, channel, address, reason),
    )
    return made.rowcount == 1


def reason_of(
    connection: Connection, tenant: uuid.UUID, channel: Channel, address: str
) -> str | None:
    """Why an address is suppressed; None where it is not."""
    found: str | None = connection.exec_driver_sql(
        f"SELECT reason FROM notifier.suppressions WHERE {_OF_ADDRESS}",
        {"tenant": tenant, "channel": channel, "address": address},
    ).scalar_one_or_none()
    return found


def revive(connection: Connection, tenant: uuid.UUID, channel: Channel, address: str) -> int:
    """Let the contact points with an address that was retired be used again; how many."""
    return connection.exec_driver_sql(
        "UPDATE notifier.contact_points SET dead_at = NULL, dead_reason = NULL "
        f"WHERE {_OF_ADDRESS} AND dead_at IS NOT NULL",
        {"tenant": tenant, "channel": channel, "address": address},
    ).rowcount


def remove(
    connection: Connection, tenant: uuid.UUID, channel: Channel, address: str, reason: str
) -> None:
    """Take back a suppression that is there for that reason."""
    connection.exec_driver_sql(
        f"DELETE FROM notifier.suppressions WHERE {_OF_ADDRESS} AND reason = %(reason)s",
        {"tenant": tenant, "channel": channel, "address": address, "reason": reason},
    )


def listed(
    connection: Connection,
    *,
    tenant: uuid.UUID | None = None,
    channel: Channel | None = None,
    address: str | None = None,
    after: Place | None = None,
    limit: int,
) -> tuple[list[Suppression], Place | None]:
    """Up to `limit` that fit everything given, the newest first, and where the next ones begin.

    after: the place that came with the page before; None at the end.
    """
    # What one transaction retired has one time. Its order is the mark's, not the address's: a page's
    # end is told to whoever asks for the next one.
    rows = connection.exec_driver_sql(
        f"SELECT s.tenant_id, s.channel, {shown('s')}, s.reason, s.created_at, {_MARK} AS mark "
        "FROM notifier.suppressions s "
        "WHERE (%(tenant)s::uuid IS NULL OR s.tenant_id = %(tenant)s::uuid) "
        "AND (%(channel)s::text IS NULL OR s.channel = %(channel)s::text) "
        "AND (%(address)s::text IS NULL OR s.address = %(address)s::text) "
        "AND (%(before)s::timestamptz IS NULL "
        f"OR (s.created_at, {_MARK}) < (%(before)s::timestamptz, %(mark)s::text)) "
        "ORDER BY s.created_at DESC, mark DESC LIMIT %(limit)s",
        {
            "tenant": tenant,
            "channel": channel,
            "address": address,
            "before": after and after.created_at,
            "mark": after and after.mark,
            "limit": limit + 1,
        },
    ).all()
    page = [Suppression(row[0], Channel(row[1]), *row[2:5]) for row in rows[:limit]]
    more = len(rows) > limit
    return page, Place(*rows[limit - 1][4:]) if more else None
