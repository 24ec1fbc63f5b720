"""Dispatches: choosing what to ring, claiming it, renewing the claim, giving it back.

All lease arithmetic uses the database's clock. `token` is a claim's fence: what is written under
an older one changes nothing.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection

from notifier.words import Channel, DispatchKind, Lane


@dataclass(frozen=True, slots=True)
class Rung:
    """A dispatch to announce on its queue."""

    id: uuid.UUID
    kind: DispatchKind
    channel: Channel | None
    lane: Lane
    rings: int


@dataclass(slots=True)
class Claim:
    """A dispatch this process holds until `lease_until` by the database's clock."""

    id: uuid.UUID
    token: uuid.UUID
    kind: DispatchKind
    channel: Channel | None
    lane: Lane
    tenant_id: uuid.UUID | None
    event_id: uuid.UUID | None
    delivery_ids: list[uuid.UUID]
    attempts: int
    age: timedelta


# Only what was never rung or claimed is packed: a claimed dispatch keeps its identity and its
# count, or a chunk that kills its workers would start counting anew.
_PACK = """
WITH fresh AS MATERIALIZED (
    SELECT d.id, d.channel, d.lane, d.tenant_id, d.due_at, cardinality(d.delivery_ids) AS carried
    FROM notifier.dispatches d
    WHERE d.due_at <= clock_timestamp() AND d.kind = 'deliver' AND d.attempts = 0 AND d.rings = 0
      AND cardinality(d.delivery_ids) <= greatest(notifier.chunk_size(d.channel) / 10, 1)
      AND notifier.chunk_size(d.channel) > 1
    ORDER BY d.due_at LIMIT 5000
    FOR UPDATE SKIP LOCKED
), placed AS (
    -- A member is at most a tenth of a chunk, so nine tenths and one member still fit in it.
    SELECT f.id, f.channel, f.lane, CASE WHEN f.lane = 'bulk' THEN f.tenant_id END AS owner,
           (sum(f.carried) OVER (
                PARTITION BY f.channel, f.lane, CASE WHEN f.lane = 'bulk' THEN f.tenant_id END
                ORDER BY f.due_at, f.id) - 1)
           / greatest(notifier.chunk_size(f.channel) * 9 / 10, 1) AS place
    FROM fresh f
), grouped AS (
    SELECT p.*, count(*) OVER (PARTITION BY p.channel, p.lane, p.owner, p.place) AS members
    FROM placed p
), taken AS (
    DELETE FROM notifier.dispatches d USING grouped g WHERE d.id = g.id AND g.members > 1
    RETURNING d.delivery_ids, d.tenant_id, d.event_id, d.due_at, g.channel, g.lane, g.owner, g.place
)
INSERT INTO notifier.dispatches (kind, tenant_id, event_id, channel, lane, delivery_ids, due_at)
SELECT 'deliver',
       CASE WHEN count(DISTINCT t.tenant_id) = 1 THEN (array_agg(t.tenant_id))[1] END,
       CASE WHEN count(DISTINCT t.event_id) = 1 THEN (array_agg(t.event_id))[1] END,
       t.channel, t.lane, array_agg(id ORDER BY t.due_at, id), min(t.due_at)
FROM taken t CROSS JOIN LATERAL unnest(t.delivery_ids) AS carried(id)
GROUP BY t.channel, t.lane, t.owner, t.place
"""

# Chooses per queue, tenants in turn, and never more than the queue has room for: Redis holds
# only work that is ready. A queue takes few dispatches that are nearly empty, so that under load
# they wait here, where they can be packed.
_RING = """
WITH due AS MATERIALIZED (
    SELECT d.id, d.kind, d.channel, d.lane, d.tenant_id, d.due_at, d.last_rung_at, d.lease_until,
           cardinality(d.delivery_ids) AS carried
    FROM notifier.dispatches d
    WHERE d.due_at <= clock_timestamp()
    ORDER BY d.due_at LIMIT 20000
), waiting AS (
    SELECT kind, channel, lane, count(*) AS rung FROM due
    WHERE last_rung_at > clock_timestamp() - %(again)s
      AND (lease_until IS NULL OR lease_until < last_rung_at)
    GROUP BY kind, channel, lane
), ready AS (
    SELECT x.*, row_number() OVER (
        PARTITION BY kind, channel, lane ORDER BY turn, due_at, id) AS place
    FROM (
        SELECT due.*, row_number() OVER (
            PARTITION BY kind, channel, lane, tenant_id ORDER BY due_at, id) AS turn
        FROM due
        WHERE (lease_until IS NULL OR lease_until < clock_timestamp())
          AND (last_rung_at IS NULL
               OR last_rung_at < clock_timestamp() - %(again)s
               OR last_rung_at < lease_until)
    ) x
), chosen AS MATERIALIZED (
    SELECT r.id, r.last_rung_at FROM ready r
    LEFT JOIN waiting w ON w.kind = r.kind AND w.channel IS NOT DISTINCT FROM r.channel
                       AND w.lane = r.lane
    WHERE r.place + coalesce(w.rung, 0) <= CASE
        WHEN r.kind = 'deliver' AND r.carried * 10 <= notifier.chunk_size(r.channel)
        THEN least(%(partial)s, %(room)s) ELSE %(room)s END
), locked AS MATERIALIZED (
    -- The second look at last_rung_at is for two relays that chose the same row.
    SELECT d.id FROM notifier.dispatches d JOIN chosen c ON c.id = d.id
    WHERE d.last_rung_at IS NOT DISTINCT FROM c.last_rung_at
    FOR UPDATE OF d SKIP LOCKED
)
UPDATE notifier.dispatches d SET last_rung_at = clock_timestamp(), rings = least(d.rings + 1, 32000)
FROM locked WHERE d.id = locked.id
RETURNING d.id, d.kind, d.channel, d.lane, d.rings, d.due_at
"""


def pack(connection: Connection) -> int:
    """Merge small fresh dispatches bound for the same queue; how many chunks that made."""
    return connection.exec_driver_sql(_PACK).rowcount


def ring(connection: Connection, *, again: timedelta, room: int, partial: int) -> list[Rung]:
    """Mark what is due as rung and return it, critical lanes first.

    again: what was rung and not claimed for so long is rung again.
    room: dispatches that may wait in one queue.
    partial: how many of them may be nearly empty.
    """
    rows = connection.exec_driver_sql(
        _RING, {"again": again, "room": room, "partial": partial}
    ).all()
    order = list(Lane)
    return [
        Rung(
            row.id,
            DispatchKind(row.kind),
            row.channel and Channel(row.channel),
            Lane(row.lane),
            row.rings,
        )
        for row in sorted(rows, key=lambda row: (order.index(Lane(row.lane)), row.due_at))
    ]


def unring(connection: Connection, ids: Sequence[uuid.UUID]) -> None:
    """Take back rings that never reached Redis."""
    connection.exec_driver_sql(
        "UPDATE notifier.dispatches d SET last_rung_at = NULL, rings = greatest(d.rings - 1, 0) "
        "FROM unnest(%s::uuid[]) AS x(id) WHERE d.id = x.id",
        (list(ids),),
    )


def forget_rings(connection: Connection) -> int:
    """Make everything rung and unclaimed due for ringing at once: Redis lost it. How many."""
    return connection.exec_driver_sql(
        "UPDATE notifier.dispatches SET last_rung_at = NULL "
        "WHERE last_rung_at IS NOT NULL AND (lease_until IS NULL OR lease_until < last_rung_at)"
    ).rowcount


def claim(connection: Connection, dispatch_id: uuid.UUID, lease: timedelta) -> Claim | None:
    """Take the dispatch for `lease`; None where another holds it, or it is done, or not due."""
    row = connection.exec_driver_sql(
        "UPDATE notifier.dispatches d SET token = gen_random_uuid(), "
        "lease_until = clock_timestamp() + %(lease)s, attempts = d.attempts + 1 "
        "WHERE d.id = %(id)s AND (d.lease_until IS NULL OR d.lease_until < clock_timestamp()) "
        "AND d.due_at <= clock_timestamp() "
        "RETURNING d.id, d.token, d.kind, d.channel, d.lane, d.tenant_id, d.event_id, "
        "d.delivery_ids, d.attempts, clock_timestamp() - d.created_at AS age",
        {"id": dispatch_id, "lease": lease},
    ).one_or_none()
    if row is None:
        return None
    return Claim(
        id=row.id,
        token=row.token,
        kind=DispatchKind(row.kind),
        channel=row.channel and Channel(row.channel),
        lane=Lane(row.lane),
        tenant_id=row.tenant_id,
        event_id=row.event_id,
        delivery_ids=row.delivery_ids,
        attempts=row.attempts,
        age=row.age,
    )


def halve(connection: Connection, held: Claim, alone: int) -> None:
    """Leave the second half of a dispatch whose worker died to another claim.

    Both halves inherit the count, so that a delivery that kills its workers ends alone; one that
    is alone is given up to `alone` claims of its own.
    """
    middle = len(held.delivery_ids) // 2
    kept, rest = held.delivery_ids[:middle], held.delivery_ids[middle:]
    connection.exec_driver_sql(
        "INSERT INTO notifier.dispatches "
        "(kind, tenant_id, event_id, channel, lane, delivery_ids, due_at, attempts) "
        "SELECT d.kind, d.tenant_id, d.event_id, d.channel, d.lane, %(rest)s, d.due_at, %(count)s "
        "FROM notifier.dispatches d WHERE d.id = %(id)s",
        {
            "id": held.id,
            "rest": rest,
            "count": held.attempts if len(rest) > 1 else min(held.attempts, alone - 1),
        },
    )
    held.delivery_ids = kept
    if len(kept) == 1:
        held.attempts = min(held.attempts, alone)
    connection.exec_driver_sql(
        "UPDATE notifier.dispatches SET delivery_ids = %s, attempts = %s WHERE id = %s",
        (kept, held.attempts, held.id),
    )


def shrink(
    connection: Connection, held: Claim, rest: Sequence[uuid.UUID], lease: timedelta
) -> bool:
    """Leave `rest` on the dispatch and renew the lease; with nothing left, delete it.

    False where the claim is no longer ours, or this very step was written already (its
    acknowledgement got lost): then nothing may be written under it.
    """
    fence = (
        "d.id = %(id)s AND d.token = %(token)s AND d.lease_until > clock_timestamp() "
        "AND cardinality(d.delivery_ids) = %(carried)s"
    )
    if rest:
        statement = (
            "UPDATE notifier.dispatches d SET delivery_ids = %(rest)s, "
            f"lease_until = clock_timestamp() + %(lease)s WHERE {fence}"
        )
    else:
        statement = f"DELETE FROM notifier.dispatches d WHERE {fence}"
    won = connection.exec_driver_sql(
        statement,
        {
            "id": held.id,
            "token": held.token,
            "rest": list(rest),
            "lease": lease,
            "carried": len(held.delivery_ids),
        },
    ).rowcount
    if won:
        held.delivery_ids = list(rest)
    return bool(won)


def hand_back(connection: Connection, held: Claim) -> bool:
    """End the claim with the work unfinished and nothing in doubt; it is due at once."""
    return bool(
        connection.exec_driver_sql(
            "UPDATE notifier.dispatches SET token = NULL, lease_until = NULL, last_rung_at = NULL, "
            "attempts = attempts - 1 "
            "WHERE id = %s AND token = %s AND lease_until > clock_timestamp()",
            (held.id, held.token),
        ).rowcount
    )


def add(
    connection: Connection,
    kind: DispatchKind,
    held: Claim,
    ids: Sequence[uuid.UUID],
    wait: timedelta,
) -> None:
    """A follow-up dispatch of `held`'s channel and lane for `ids`, due after `wait`."""
    connection.exec_driver_sql(
        "INSERT INTO notifier.dispatches "
        "(kind, tenant_id, event_id, channel, lane, delivery_ids, due_at) "
        "VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp() + %s)",
        (kind, held.tenant_id, held.event_id, held.channel, held.lane, list(ids), wait),
    )


def postpone(connection: Connection, held: Claim, wait: timedelta) -> None:
    """End the claim with nothing in doubt; the same dispatch is due again after `wait`."""
    connection.exec_driver_sql(
        "UPDATE notifier.dispatches SET token = NULL, lease_until = NULL, last_rung_at = NULL, "
        "attempts = attempts - 1, due_at = clock_timestamp() + %s WHERE id = %s AND token = %s",
        (wait, held.id, held.token),
    )
