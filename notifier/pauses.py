"""Have work wait, by tenant, channel, provider or event type, and let it go on: nothing is lost."""

import uuid
from datetime import UTC, datetime

from sqlalchemy import Connection

from notifier.channels import registry
from notifier.errors import InvalidValue, NotFoundError, UnknownEventType
from notifier.store import pauses
from notifier.store.pauses import Pause
from notifier.words import Channel

LONGEST_REASON = 500


def begin(
    connection: Connection,
    *,
    tenant: uuid.UUID | None = None,
    channel: Channel | None = None,
    provider: str | None = None,
    event_type: str | None = None,
    reason: str,
    actor: str | None = None,
    until: datetime | None = None,
) -> uuid.UUID:
    """Pause what fits all that is given, in the caller's transaction; the pause's id.

    Workers follow it from their next window on; what is being sent goes out. With `until` it ends
    of itself. Raises `InvalidValue` or `UnknownEventType` naming the field.
    """
    if tenant is None and channel is None and provider is None and event_type is None:
        raise InvalidValue("pause", "a tenant, channel, provider or event type at least")
    kinds = registry.providers()
    able = [name for name, kind in kinds.items() if channel is None or channel in kind.channels]
    if provider is not None and provider not in able:
        those = "one of" if channel is None else f"one that carries {channel}:"
        raise InvalidValue("provider", f"{those} {', '.join(able)}, not {provider!r}")
    if event_type is not None and not pauses.is_event_type(connection, event_type):
        raise UnknownEventType("event_type", "the name of a registered event type")
    if not 1 <= len(reason.strip()) <= LONGEST_REASON:
        raise InvalidValue("reason", f"1 to {LONGEST_REASON} characters that say why")
    if until is not None and until.tzinfo is None:
        raise InvalidValue("until", "a time with an offset")
    if until is not None and until <= datetime.now(UTC):
        raise InvalidValue("until", "a time to come")
    return pauses.begin(
        connection,
        tenant=tenant,
        channel=channel,
        provider=provider,
        event_type=event_type,
        reason=reason.strip(),
        actor=actor,
        until=until,
    )


def end(
    connection: Connection,
    pause: uuid.UUID,
    *,
    tenant: uuid.UUID | None = None,
    actor: str | None = None,
) -> int:
    """End a pause; how many dispatches had waited for it. They are due at once.

    tenant: where given, only a pause of that tenant alone. Raises `NotFoundError`.
    """
    released = pauses.end(connection, tenant, pause, actor)
    if released is None:
        raise NotFoundError("pause", "the id of a pause that has not ended")
    return released


def active(connection: Connection) -> list[Pause]:
    """The pauses that hold now, the oldest first."""
    return pauses.active(connection)
