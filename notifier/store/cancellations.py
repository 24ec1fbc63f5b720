"""Cancellations: the row that stops what is under way, and what it found."""

import uuid
from collections.abc import Sequence

from sqlalchemy import Connection

from notifier.status import Status


def record(
    connection: Connection,
    event: uuid.UUID | None,
    delivery: uuid.UUID | None,
    tenant: uuid.UUID | None,
    actor: str | None,
) -> uuid.UUID | None:
    """Write the cancellation under the event's lock, which each page of a fan-out takes too.

    The event's id; None where there is no such event or delivery (of `tenant`, where given).
    """
    if delivery is not None:
        found = connection.exec_driver_sql(
            "SELECT event_id FROM notifier.notification_deliveries WHERE id = %(id)s "
            "AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s::uuid)",
            {"id": delivery, "tenant": tenant},
        ).scalar_one_or_none()
    else:
        found = connection.exec_driver_sql(
            "SELECT id FROM notifier.notification_events WHERE id = %(id)s "
            "AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s::uuid)",
            {"id": event, "tenant": tenant},
        ).scalar_one_or_none()
    if found is None:
        return None
    connection.exec_driver_sql(
        "SELECT pg_advisory_xact_lock(uuid_hash_extended(%s::uuid, 0))", (found,)
    )
    connection.exec_driver_sql(
        "INSERT INTO notifier.event_cancellations (event_id, delivery_id, actor) "
        "VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (found, delivery, actor),
    )
    event_id: uuid.UUID = found
    return event_id


def chosen(
    connection: Connection,
    ids: Sequence[uuid.UUID],
    event_id: uuid.UUID,
    delivery: uuid.UUID | None,
) -> list[tuple[uuid.UUID, Status, int]]:
    """Which of a dispatch's deliveries the cancellation means: (id, status, attempts)."""
    rows = connection.exec_driver_sql(
        "SELECT d.id, d.status, d.attempts FROM unnest(%(ids)s::uuid[]) AS x(id) "
        "JOIN notifier.notification_deliveries d ON d.id = x.id "
        "WHERE d.event_id = %(event)s "
        "AND (%(delivery)s::uuid IS NULL OR d.id = %(delivery)s::uuid)",
        {"ids": list(ids), "event": event_id, "delivery": delivery},
    )
    return [(row[0], Status(row[1]), row[2]) for row in rows]


def counts(
    connection: Connection, event_id: uuid.UUID, delivery: uuid.UUID | None
) -> tuple[int, int]:
    """Of the event, or of one delivery: how many are in flight, and how many were sent."""
    row = connection.exec_driver_sql(
        "SELECT count(*) FILTER (WHERE status IN ('scheduled', 'queued', 'retrying', 'sending')), "
        "count(*) FILTER (WHERE sent_at IS NOT NULL) FROM notifier.notification_deliveries d "
        "WHERE d.event_id = %(event)s "
        "AND d.id BETWEEN notifier.id_low(%(event)s) AND notifier.id_high(%(event)s) "
        "AND (%(delivery)s::uuid IS NULL OR d.id = %(delivery)s::uuid)",
        {"event": event_id, "delivery": delivery},
    ).one()
    return row[0], row[1]
