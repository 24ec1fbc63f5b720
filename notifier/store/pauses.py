"""Pauses: what must wait, and the dispatches that wait for it.

They begin and end in SQL functions, so that the API, which may not touch the queue, can call them.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from notifier.status import UNFINISHED
from notifier.store import dispatches
from notifier.store.dispatches import STATUS_OF_X, Claim
from notifier.words import Channel, DispatchKind


@dataclass(frozen=True, slots=True)
class Pause:
    """What is None fits anything; what is given must fit, all of it.

    until: when it ends of itself; None: when somebody ends it.
    """

    id: uuid.UUID
    tenant_id: uuid.UUID | None
    channel: Channel | None
    provider: str | None
    event_type: str | None
    reason: str
    actor: str | None
    created_at: datetime
    until: datetime | None

    def fits(
        self, tenant: uuid.UUID, channel: Channel, provider: str, event_type: str | None
    ) -> bool:
        """Whether a delivery has to wait for it. event_type: None where it is not known: then a
        pause that names one does not fit."""
        return (
            self.tenant_id in (None, tenant)
            and self.channel in (None, channel)
            and self.provider in (None, provider)
            and self.event_type in (None, event_type)
        )


def begin(
    connection: Connection,
    *,
    tenant: uuid.UUID | None,
    channel: Channel | None,
    provider: str | None,
    event_type: str | None,
    reason: str,
    actor: str | None,
    until: datetime | None,
) -> uuid.UUID:
    """Begin a pause; its id."""
    made: uuid.UUID = connection.exec_driver_sql(
        "SELECT notifier.pause(%s, %s, %s, %s, %s, %s, %s)",
        (tenant, channel, provider, event_type, reason, actor, until),
    ).scalar_one()
    return made


def is_event_type(connection: Connection, name: str) -> bool:
    return bool(
        connection.exec_driver_sql(
            "SELECT EXISTS (SELECT FROM notifier.event_types WHERE name = %s)", (name,)
        ).scalar_one()
    )


def end(
    connection: Connection, tenant: uuid.UUID | None, pause: uuid.UUID, actor: str | None
) -> int | None:
    """End a pause (of `tenant`, where given); how many dispatches had waited, None where there is
    no such pause."""
    released: int | None = connection.exec_driver_sql(
        "SELECT notifier.resume(%s, %s, %s)", (tenant, pause, actor)
    ).scalar_one()
    return released


def active(connection: Connection) -> list[Pause]:
    """The pauses that hold now (that the connection may see), the oldest first."""
    rows = connection.exec_driver_sql(
        "SELECT id, tenant_id, channel, provider, event_type, reason, actor, created_at, until "
        "FROM notifier.pauses WHERE ended_at IS NULL "
        "AND (until IS NULL OR until > clock_timestamp()) ORDER BY id"
    )
    return [Pause(row[0], row[1], row[2] and Channel(row[2]), *row[3:]) for row in rows]


def _hold(connection: Connection, pause: uuid.UUID) -> bool:
    """Keep a pause from being ended before this transaction is over; False where it is already."""
    row = connection.exec_driver_sql(
        "SELECT FROM notifier.pauses WHERE id = %s AND ended_at IS NULL FOR SHARE", (pause,)
    )
    return row.first() is not None


def park(
    connection: Connection,
    held: Claim,
    ids: Sequence[uuid.UUID],
    pause: uuid.UUID,
    provider: str | None,
) -> None:
    """A dispatch of `held`'s channel and lane for `ids`, due when the pause ends; at once where it is
    over. It is not ended before this transaction is.

    provider: through which they may have gone out already.
    """
    if not _hold(connection, pause):
        dispatches.add(connection, DispatchKind.DELIVER, held, ids, timedelta(), provider)
        return
    connection.exec_driver_sql(
        "INSERT INTO notifier.dispatches "
        "(kind, tenant_id, event_id, channel, lane, delivery_ids, due_at, provider, pause_id) "
        "SELECT 'deliver', %s, %s, %s, %s, array_agg(x.id ORDER BY x.n), "
        "coalesce(p.until, 'infinity'), %s, p.id "
        "FROM notifier.pauses p CROSS JOIN unnest(%s::uuid[]) WITH ORDINALITY AS x(id, n) "
        f"WHERE p.id = %s AND {STATUS_OF_X} = ANY(%s::text[]) GROUP BY p.id",
        (
            held.tenant_id,
            held.event_id,
            held.channel,
            held.lane,
            provider,
            list(ids),
            pause,
            sorted(UNFINISHED),
        ),
    )
