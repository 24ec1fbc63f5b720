"""Dispatches: choosing what to ring, claiming it, renewing the claim, giving it back.

All lease arithmetic uses the database's clock. `token` is a claim's fence: what is written under
an older one changes nothing.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from notifier.status import UNFINISHED
from notifier.words import Channel, DispatchKind, Lane

# A sub-select, because the planner may join by reading a whole partition.
STATUS_OF_X = "(SELECT d.status FROM notifier.notification_deliveries d WHERE d.id = x.id)"


@dataclass(frozen=True, slots=True)
class Rung:
    """A dispatch to announce on its queue."""

    id: uuid.UUID
    kind: DispatchKind
    channel: Channel | None
    lane: Lane
    rings: int
    is_small: bool
    """Whether it carries at most a tenth of a chunk."""


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
    taken_over: bool
    """Whether a lease had run out on it: its last worker died, or froze, with it in hand."""
    age: timedelta
    stays_with: str | None = None
    """The provider that the claim before sent through, where there was a choice, or that it was put
    off for: what it carries may have gone out through that one."""


def pack(connection: Connection) -> int:
    """Merge small fresh dispatches bound for the same queue; how many chunks that made."""
    return int(connection.exec_driver_sql("SELECT notifier.pack()").scalar_one())


def ring(connection: Connection, *, again: timedelta, room: int, partial: int) -> list[Rung]:
    """Pack what is small, mark what is due as rung and return it, critical lanes first.

    again: what was rung and not claimed for so long is rung again.
    room: dispatches that may wait in one queue.
    partial: how many of them may be less than full while small ones wait to be packed.
    """
    rows = connection.exec_driver_sql(
        "SELECT * FROM notifier.ring_due(%s, %s, %s)", (again, room, partial)
    ).all()
    order = list(Lane)
    return [
        Rung(
            row.id,
            DispatchKind(row.kind),
            row.channel and Channel(row.channel),
            Lane(row.lane),
            row.rings,
            row.is_small,
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


def claim(
    connection: Connection,
    dispatch_id: uuid.UUID,
    lease: timedelta,
    token: uuid.UUID | None = None,
) -> Claim | None:
    """Take the dispatch for `lease`; None where another holds it, or it is done, or not due.

    token: a new one by which the claim can be let go even if this answer is lost.
    """
    row = connection.exec_driver_sql(
        # The inner lock makes the old lease visible to RETURNING; the outer condition holds for
        # the row as it is once the lock is ours.
        "WITH free AS MATERIALIZED ("
        "SELECT id, lease_until IS NOT NULL AS taken_over FROM notifier.dispatches "
        "WHERE id = %(id)s AND (lease_until IS NULL OR lease_until < clock_timestamp()) "
        "AND due_at <= clock_timestamp() FOR UPDATE) "
        "UPDATE notifier.dispatches d SET token = %(token)s, "
        "lease_until = clock_timestamp() + %(lease)s, attempts = d.attempts + 1 "
        "FROM free WHERE d.id = free.id "
        "RETURNING d.id, d.token, d.kind, d.channel, d.lane, d.tenant_id, d.event_id, "
        "d.delivery_ids, d.attempts, free.taken_over, clock_timestamp() - d.created_at AS age, "
        "d.provider",
        {"id": dispatch_id, "lease": lease, "token": token or uuid.uuid4()},
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
        taken_over=row.taken_over,
        age=row.age,
        stays_with=row.provider,
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
        "(kind, tenant_id, event_id, channel, lane, delivery_ids, due_at, attempts, provider) "
        "SELECT d.kind, d.tenant_id, d.event_id, d.channel, d.lane, %(rest)s, d.due_at, %(count)s, "
        "d.provider "
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
    acknowledgement got lost): then nothing may be written under it. `held` stays as it is: only
    the caller knows when the step is committed.
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
    return bool(won)


def send_through(connection: Connection, held: Claim, provider: str | None) -> None:
    """Remember through which provider this claim sends: a claim that takes it over stays with it."""
    connection.exec_driver_sql(
        "UPDATE notifier.dispatches SET provider = %s WHERE id = %s AND token = %s",
        (provider, held.id, held.token),
    )


def drop_finished(connection: Connection, held: Claim, lease: timedelta) -> bool:
    """Take off the dispatch what receipts finished meanwhile; whether anything is left on it.

    False too where the claim is no longer ours. Until the transaction ends, no receipt finishes
    anything of it.
    """
    if not shrink(connection, held, held.delivery_ids, lease):
        return False
    rest = [
        row[0]
        for row in connection.exec_driver_sql(
            "SELECT x.id FROM unnest(%s::uuid[]) WITH ORDINALITY AS x(id, n) "
            f"WHERE {STATUS_OF_X} = ANY(%s::text[]) ORDER BY x.n",
            (held.delivery_ids, sorted(UNFINISHED)),
        )
    ]
    if len(rest) < len(held.delivery_ids):
        shrink(connection, held, rest, lease)
        held.delivery_ids = rest
    return bool(rest)


def hand_back(connection: Connection, held: Claim) -> bool:
    """End the claim with the work unfinished and nothing in doubt; it is due at once."""
    return bool(
        connection.exec_driver_sql(
            "UPDATE notifier.dispatches SET token = NULL, lease_until = NULL, last_rung_at = NULL, "
            "attempts = attempts - 1, provider = NULL "
            "WHERE id = %s AND token = %s AND lease_until > clock_timestamp()",
            (held.id, held.token),
        ).rowcount
    )


def let_go(connection: Connection, dispatch_id: uuid.UUID, token: uuid.UUID) -> None:
    """End the claim, if it was ever made, for a fault of the database's: its worker did not die,
    so it does not count. How far it had got is not known: who claims next takes over.
    """
    connection.exec_driver_sql(
        "UPDATE notifier.dispatches "
        "SET lease_until = clock_timestamp(), attempts = greatest(attempts - 1, 0) "
        "WHERE id = %s AND token = %s AND lease_until > clock_timestamp()",
        (dispatch_id, token),
    )


def add(
    connection: Connection,
    kind: DispatchKind,
    held: Claim,
    ids: Sequence[uuid.UUID],
    wait: timedelta,
    provider: str | None = None,
) -> None:
    """A follow-up dispatch of `held`'s channel and lane, due after `wait`.

    It carries those of `ids` that are unfinished: a receipt may have been faster.
    provider: through which they may have gone out already.
    """
    connection.exec_driver_sql(
        "INSERT INTO notifier.dispatches "
        "(kind, tenant_id, event_id, channel, lane, provider, delivery_ids, due_at) "
        "SELECT %s, %s, %s, %s, %s, %s, array_agg(x.id ORDER BY x.n), clock_timestamp() + %s "
        "FROM unnest(%s::uuid[]) WITH ORDINALITY AS x(id, n) "
        f"WHERE {STATUS_OF_X} = ANY(%s::text[]) HAVING count(*) > 0",
        (
            kind,
            held.tenant_id,
            held.event_id,
            held.channel,
            held.lane,
            provider,
            wait,
            list(ids),
            sorted(UNFINISHED),
        ),
    )


def carry(connection: Connection, ids: Sequence[uuid.UUID]) -> None:
    """Dispatches, as full as they may be and due at once, for deliveries that none carries."""
    connection.exec_driver_sql(
        "WITH numbered AS (SELECT d.id, d.tenant_id, d.event_id, d.channel, e.lane, "
        "(row_number() OVER (PARTITION BY d.channel, e.lane, d.tenant_id ORDER BY d.id) - 1) "
        "/ notifier.chunk_size(d.channel) AS place FROM unnest(%s::uuid[]) AS x(id) "
        "JOIN notifier.notification_deliveries d ON d.id = x.id "
        "JOIN notifier.notification_events e ON e.id = d.event_id) "
        "INSERT INTO notifier.dispatches "
        "(kind, tenant_id, event_id, channel, lane, delivery_ids, due_at) "
        "SELECT 'deliver', n.tenant_id, "
        "CASE WHEN count(DISTINCT n.event_id) = 1 THEN (array_agg(n.event_id))[1] END, "
        "n.channel, n.lane, array_agg(n.id), clock_timestamp() "
        "FROM numbered n GROUP BY n.channel, n.lane, n.tenant_id, n.place",
        (list(ids),),
    )


def postpone(connection: Connection, held: Claim, wait: timedelta) -> None:
    """End the claim with nothing in doubt; the same dispatch is due again after `wait`."""
    connection.exec_driver_sql(
        "UPDATE notifier.dispatches SET token = NULL, lease_until = NULL, last_rung_at = NULL, "
        "attempts = attempts - 1, provider = NULL, due_at = clock_timestamp() + %s "
        "WHERE id = %s AND token = %s",
        (wait, held.id, held.token),
    )


def postpone_until(connection: Connection, held: Claim, moment: datetime) -> None:
    """End the claim of work that is not deliveries; the same dispatch is due again at `moment`.

    Where another of its kind is due by then and free, that one does: this one goes.
    """
    spare = (
        "SELECT FROM notifier.dispatches o WHERE o.kind = %(kind)s AND o.id <> %(id)s "
        "AND o.lease_until IS NULL AND o.due_at <= %(moment)s"
    )
    given = {"id": held.id, "token": held.token, "kind": held.kind, "moment": moment}
    gone = connection.exec_driver_sql(
        f"DELETE FROM notifier.dispatches WHERE id = %(id)s AND token = %(token)s AND EXISTS ({spare})",
        given,
    ).rowcount
    if not gone:
        connection.exec_driver_sql(
            "UPDATE notifier.dispatches SET token = NULL, lease_until = NULL, last_rung_at = NULL, "
            "attempts = attempts - 1, due_at = %(moment)s WHERE id = %(id)s AND token = %(token)s",
            given,
        )


@dataclass(frozen=True, slots=True)
class Carrier:
    """A dispatch that carries a delivery. held: whether a worker's lease stands on it."""

    id: uuid.UUID
    delivery_ids: list[uuid.UUID]
    held: bool


def lock_carriers(connection: Connection, ids: Sequence[uuid.UUID]) -> list[Carrier]:
    """The dispatches that carry any of `ids`, held for this transaction."""
    if not ids:
        return []
    rows = connection.exec_driver_sql(
        "SELECT p.id, p.delivery_ids, coalesce(p.lease_until > clock_timestamp(), false) "
        "FROM notifier.dispatches p WHERE p.id IN ("
        "SELECT q.id FROM notifier.dispatches q CROSS JOIN unnest(q.delivery_ids) AS carried(id) "
        "JOIN unnest(%s::uuid[]) AS x(id) ON x.id = carried.id) ORDER BY p.id FOR UPDATE OF p",
        (list(ids),),
    )
    return [Carrier(*row) for row in rows]


def take_off(
    connection: Connection, carriers: Sequence[uuid.UUID], gone: Collection[uuid.UUID]
) -> None:
    """Take what is finished off dispatches that no worker has in hand; empty ones go."""
    if not carriers or not gone:
        return
    connection.exec_driver_sql(
        "UPDATE notifier.dispatches p SET delivery_ids = ARRAY("
        "SELECT x.id FROM unnest(p.delivery_ids) WITH ORDINALITY AS x(id, n) "
        "WHERE x.id <> ALL(%s::uuid[]) ORDER BY x.n) WHERE p.id = ANY(%s::uuid[])",
        (list(gone), list(carriers)),
    )
    connection.exec_driver_sql(
        "DELETE FROM notifier.dispatches WHERE id = ANY(%s::uuid[]) AND delivery_ids = '{}'",
        (list(carriers),),
    )
