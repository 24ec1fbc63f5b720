"""Deliveries: what a worker reads before it sends, and the writing of what came of it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from notifier.status import Actor, Status, may_move
from notifier.store.suppressions import OUTWEIGHS

ToldNow = tuple[uuid.UUID, str, int, str | None, int | None]
"""What a provider said when it took a message: the delivery, the provider's own id, the attempt, the
provider's word, and how many segments it makes of it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A delivery as a worker needs it."""

    id: uuid.UUID
    event_id: uuid.UUID
    tenant_id: uuid.UUID
    recipient_id: uuid.UUID | None
    contact_point_id: uuid.UUID | None
    template_id: uuid.UUID | None
    address: str
    locale: str
    status: Status
    attempts: int
    secret: str | None
    recipient: dict[str, Any]
    provider: str | None = None
    """Of the last attempt."""
    code: str | None = None
    """Why that failed."""


@dataclass(frozen=True, slots=True)
class LoadedEvent:
    """The part of an event that its deliveries are rendered from."""

    id: uuid.UUID
    type: str
    payload: dict[str, Any]
    correlation_id: str
    created_at: datetime
    expires_at: datetime | None
    tenant_id: uuid.UUID
    tenant_name: str
    category: str
    mutable: bool
    escalates: bool
    """Whether it asks for an acknowledgement."""
    attachments: list[uuid.UUID] | None
    """What its e-mails carry."""


@dataclass(frozen=True, slots=True)
class Move:
    """One delivery's move and the facts that came with it."""

    id: uuid.UUID
    before: Status
    after: Status
    attempts: int
    provider: str | None = None
    code: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class Stopped:
    """What cancels, deadlines and pauses keep from being sent."""

    cancelled: set[uuid.UUID]
    """Events."""
    singly: set[uuid.UUID]
    """Deliveries cancelled on their own."""
    expired: set[uuid.UUID]
    """Events."""
    pauses: bool
    """Whether any pause holds, whatever it fits."""


# By a list of ids and its bounds, never by a join: a plan made while a partition was small would
# join by reading the whole of it, for as long as the plan is kept. The bounds spare the look into
# every other partition.
_BY_ID = "{0}.id = ANY(%(ids)s::uuid[]) AND {0}.id BETWEEN %(low)s::uuid AND %(high)s::uuid"

_LOAD = f"""
SELECT d.id, d.event_id, d.tenant_id, d.recipient_id, d.contact_point_id, d.template_id, d.address,
       d.locale, d.status, d.attempts,
       r.external_id, r.name, r.locale AS recipient_locale, r.timezone, r.attributes,
       d.provider, d.code
FROM notifier.notification_deliveries d
LEFT JOIN LATERAL (SELECT * FROM notifier.recipients x WHERE x.id = d.recipient_id OFFSET 0) r ON true
WHERE {_BY_ID.format("d")}
"""

_SECRETS = """
SELECT c.id, c.secret FROM unnest(%s::uuid[]) AS x(id)
JOIN notifier.contact_points c ON c.id = x.id WHERE c.secret IS NOT NULL
"""

_EVENTS = f"""
SELECT e.id, e.type, e.payload, e.correlation_id, e.created_at, e.expires_at, e.tenant_id,
       t.name AS tenant_name, k.category, k.mutable, e.escalation IS NOT NULL AS escalates,
       e.attachments
FROM notifier.notification_events e
CROSS JOIN LATERAL (SELECT * FROM notifier.tenants x WHERE x.id = e.tenant_id OFFSET 0) t
CROSS JOIN LATERAL (SELECT * FROM notifier.event_types x WHERE x.name = e.type OFFSET 0) k
WHERE {_BY_ID.format("e")}
"""

_STANDING = f"""
SELECT d.id, d.status, d.attempts FROM notifier.notification_deliveries d WHERE {_BY_ID.format("d")}
"""

_STOPPED = f"""
SELECT 'cancelled', c.event_id, c.delivery_id FROM notifier.event_cancellations c
WHERE c.event_id = ANY(%(ids)s::uuid[])
UNION ALL
SELECT 'expired', e.id, NULL FROM notifier.notification_events e
WHERE {_BY_ID.format("e")} AND e.expires_at <= clock_timestamp()
UNION ALL
SELECT 'paused', NULL, NULL WHERE EXISTS (SELECT FROM notifier.pauses WHERE ended_at IS NULL)
"""


def by_id(ids: Sequence[uuid.UUID]) -> dict[str, Any]:
    """The parameters of a look-up by id; `ids` is not empty."""
    return {"ids": list(ids), "low": min(ids), "high": max(ids)}


def load(
    connection: Connection, ids: Sequence[uuid.UUID], *, secrets_too: bool = False
) -> list[Loaded]:
    """The deliveries of a dispatch, in its order.

    secrets_too: with the signing secrets of their contact points, for channels that sign.
    """
    if not ids:
        return []
    found = {row[0]: row for row in connection.exec_driver_sql(_LOAD, by_id(ids))}
    rows = [found[i] for i in ids if i in found]
    secrets: dict[uuid.UUID, str] = {}
    if secrets_too:
        points = [row[4] for row in rows if row[4] is not None]
        secrets = {row[0]: row[1] for row in connection.exec_driver_sql(_SECRETS, (points,))}
    return [
        Loaded(
            row[0],
            row[1],
            row[2],
            row[3],
            row[4],
            row[5],
            row[6] or "",
            row[7],
            Status(row[8]),
            row[9],
            secrets.get(row[4]),
            {
                "id": str(row[3]) if row[3] else None,
                "external_id": row[10],
                "name": row[11],
                "locale": row[12] or row[7],
                "timezone": row[13] or "UTC",
                "attributes": row[14] or {},
            },
            row[15],
            row[16],
        )
        for row in rows
    ]


def standing(
    connection: Connection, ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, tuple[Status, int]]:
    """The status and the attempts of each delivery, in the order of `ids`."""
    if not ids:
        return {}
    found = {
        row[0]: (Status(row[1]), row[2])
        for row in connection.exec_driver_sql(_STANDING, by_id(ids))
    }
    return {i: found[i] for i in ids if i in found}


def load_events(connection: Connection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, LoadedEvent]:
    """The events of a dispatch's deliveries, by id."""
    if not ids:
        return {}
    return {row[0]: LoadedEvent(*row) for row in connection.exec_driver_sql(_EVENTS, by_id(ids))}


def stopped(connection: Connection, event_ids: Sequence[uuid.UUID]) -> Stopped:
    """What must not be sent any more, or not yet, of the deliveries of some events."""
    found = Stopped(set(), set(), set(), False)
    for why, event_id, delivery_id in connection.exec_driver_sql(_STOPPED, by_id(event_ids)):
        if why == "paused":
            found.pauses = True
        elif why == "expired":
            found.expired.add(event_id)
        elif delivery_id is None:
            found.cancelled.add(event_id)
        else:
            found.singly.add(delivery_id)
    return found


# The facts are written whatever the status is by now (a callback may have been faster); the
# status only where it is still what the worker read, and the journal only tells moves that won.
_MOVE = f"""
WITH moved AS (
    UPDATE notifier.notification_deliveries d
    SET status = CASE WHEN d.status = %(before)s THEN %(after)s ELSE d.status END,
        updated_at = CASE WHEN d.status = %(before)s THEN now() ELSE d.updated_at END,
        attempts = CASE WHEN d.status = %(before)s THEN %(attempts)s
                        ELSE greatest(d.attempts, %(attempts)s) END,
        provider = coalesce(%(provider)s, d.provider),
        code = CASE WHEN d.status = %(before)s THEN %(code)s ELSE d.code END,
        sent_at = CASE WHEN %(sent)s THEN coalesce(d.sent_at, now()) ELSE d.sent_at END,
        delivered_at = CASE WHEN %(delivered)s THEN coalesce(d.delivered_at, now())
                            ELSE d.delivered_at END
    WHERE {_BY_ID.format("d")}
    RETURNING d.id, d.updated_at = now() AS won
)
INSERT INTO notifier.delivery_journal
    (delivery_id, at, actor, from_status, to_status, attempt, claim, provider, code, detail)
SELECT moved.id, now(), %(actor)s, %(before)s, %(after)s, %(attempts)s, %(claim)s, %(provider)s,
       %(code)s, told.detail
FROM moved JOIN unnest(%(ids)s::uuid[], %(details)s::text[]) AS told(id, detail) ON told.id = moved.id
WHERE moved.won
"""


def move(connection: Connection, actor: Actor, moves: Sequence[Move], claim: int = 0) -> int:
    """Write moves with their journal rows; how many won.

    claim: which claim of its dispatch the worker holds.
    Raises `ValueError` for a move that `actor` may not make: that is our own fault, never data's.
    """
    groups: dict[tuple[Any, ...], list[Move]] = {}
    for m in moves:
        key = (m.before, m.after, m.attempts, m.provider, m.code)
        groups.setdefault(key, []).append(m)
    won = 0
    for (before, after, attempts, provider, code), members in groups.items():
        if not may_move(actor, before, after):
            raise ValueError(f"{actor} may not move a delivery from {before} to {after}")
        won += connection.exec_driver_sql(
            _MOVE,
            {
                **by_id([m.id for m in members]),
                "details": [m.detail for m in members],
                "actor": actor,
                "before": before,
                "after": after,
                "attempts": attempts,
                "provider": provider,
                "code": code,
                "claim": claim,
                "sent": after in (Status.SENT, Status.DELIVERED),
                "delivered": after is Status.DELIVERED,
            },
        ).rowcount
    return won


def dead_letter(connection: Connection, ids: Sequence[uuid.UUID], code: str, reason: str) -> None:
    """List those of `ids` that failed for good, where an operator can replay them."""
    connection.exec_driver_sql(
        "INSERT INTO notifier.dead_letters "
        "(delivery_id, tenant_id, event_id, channel, code, reason, attempts) "
        "SELECT d.id, d.tenant_id, d.event_id, d.channel, %s, %s, d.attempts "
        "FROM unnest(%s::uuid[]) AS x(id) JOIN notifier.notification_deliveries d ON d.id = x.id "
        "WHERE d.status = 'failed' "
        "ON CONFLICT (delivery_id) DO UPDATE SET code = excluded.code, reason = excluded.reason, "
        "attempts = excluded.attempts, created_at = now()",
        (code, reason, list(ids)),
    )


def doubt(connection: Connection, ids: Sequence[uuid.UUID], reason: str) -> None:
    """List those of `ids` that stay in doubt until the provider or an operator settles them."""
    connection.exec_driver_sql(
        "INSERT INTO notifier.in_doubt (delivery_id, tenant_id, channel, provider, reason) "
        "SELECT d.id, d.tenant_id, d.channel, d.provider, %s "
        "FROM unnest(%s::uuid[]) AS x(id) JOIN notifier.notification_deliveries d ON d.id = x.id "
        "WHERE d.status = 'unknown' ON CONFLICT (delivery_id) DO NOTHING",
        (reason, list(ids)),
    )


def retire_addresses(connection: Connection, deliveries: Sequence[uuid.UUID], reason: str) -> None:
    """Mark the addresses of `deliveries` dead, and suppress them for their tenants."""
    connection.exec_driver_sql(
        "UPDATE notifier.contact_points c SET dead_at = now(), dead_reason = %s "
        "FROM unnest(%s::uuid[]) AS x(id) JOIN notifier.notification_deliveries d ON d.id = x.id "
        "WHERE c.id = d.contact_point_id AND c.dead_at IS NULL",
        (reason, list(deliveries)),
    )
    suppress_addresses(connection, deliveries, reason)


def suppress_addresses(
    connection: Connection, deliveries: Sequence[uuid.UUID], reason: str
) -> None:
    """Send the addresses of `deliveries` nothing more for their tenants; they live."""
    connection.exec_driver_sql(
        "INSERT INTO notifier.suppressions AS s (tenant_id, channel, address, reason) "
        "SELECT DISTINCT d.tenant_id, d.channel, d.address, %s "
        "FROM unnest(%s::uuid[]) AS x(id) JOIN notifier.notification_deliveries d ON d.id = x.id "
        f"WHERE d.address IS NOT NULL {OUTWEIGHS}",
        (reason, list(deliveries)),
    )


def tell(
    connection: Connection,
    provider: str,
    facts: Sequence[ToldNow],
) -> None:
    """Keep what a provider told when it took messages."""
    connection.exec_driver_sql(
        "INSERT INTO notifier.provider_messages "
        "(delivery_id, provider, provider_message_id, attempt, raw_status, segments, late) "
        "SELECT x.id, %s, x.told, x.attempt, x.raw, x.segments, false "
        "FROM unnest(%s::uuid[], %s::text[], %s::int[], %s::text[], %s::int[]) "
        "AS x(id, told, attempt, raw, segments)",
        (provider, *(list(column) for column in zip(*facts, strict=True))),
    )


def announced(connection: Connection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, datetime]:
    """When the last attempt of each delivery that is being sent was announced."""
    rows = connection.exec_driver_sql(
        "SELECT x.id, (SELECT max(j.at) FROM notifier.delivery_journal j "
        "WHERE j.delivery_id = x.id AND j.to_status = 'sending') FROM unnest(%s::uuid[]) AS x(id)",
        (list(ids),),
    )
    return {row[0]: row[1] for row in rows}


def rivals(connection: Connection, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of `ids`, all of them being sent, beside which another delivery to the same address
    is being sent.
    """
    rows = connection.exec_driver_sql(
        "WITH asked AS MATERIALIZED (SELECT d.id, d.channel, d.address FROM unnest(%s::uuid[]) AS x(id) "
        "JOIN notifier.notification_deliveries d ON d.id = x.id), "
        "sending AS MATERIALIZED (SELECT d.id, d.channel, d.address FROM notifier.dispatches p "
        "CROSS JOIN unnest(p.delivery_ids) AS carried(id) "
        "JOIN notifier.notification_deliveries d ON d.id = carried.id "
        "WHERE d.status = 'sending' AND p.channel IN (SELECT channel FROM asked)) "
        "SELECT DISTINCT a.id FROM asked a JOIN sending s "
        "ON s.channel = a.channel AND s.address = a.address AND s.id <> a.id",
        (list(ids),),
    )
    return {row[0] for row in rows}


def tenants_that_resend(connection: Connection, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """The tenants among `ids` that chose to repeat what stays in doubt."""
    rows = connection.exec_driver_sql(
        "SELECT t.id FROM unnest(%s::uuid[]) AS x(id) JOIN notifier.tenants t ON t.id = x.id "
        "WHERE t.resend_in_doubt",
        (list(ids),),
    )
    return {row[0] for row in rows}
