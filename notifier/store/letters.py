"""Dead letters: reopening them."""

import uuid
from datetime import datetime

from sqlalchemy import Connection

from notifier.store import dispatches

_REOPEN = """
WITH chosen AS (
    DELETE FROM notifier.dead_letters l WHERE l.delivery_id IN (
        SELECT c.delivery_id FROM notifier.dead_letters c
        JOIN notifier.notification_events e ON e.id = c.event_id
        WHERE (%(delivery)s::uuid IS NULL OR c.delivery_id = %(delivery)s::uuid)
          AND (%(tenant)s::uuid IS NULL OR c.tenant_id = %(tenant)s::uuid)
          AND (%(channel)s::text IS NULL OR c.channel = %(channel)s::text)
          AND (%(event_type)s::text IS NULL OR e.type = %(event_type)s::text)
          AND (%(code)s::text IS NULL OR c.code = %(code)s::text)
          AND (%(since)s::timestamptz IS NULL OR c.created_at >= %(since)s::timestamptz)
          -- Failed by a receipt while a worker had it in hand: it must leave that dispatch first.
          AND NOT EXISTS (
              SELECT FROM (SELECT unnest(p.delivery_ids) AS id FROM notifier.dispatches p
                           WHERE p.token IS NOT NULL) carried
              WHERE carried.id = c.delivery_id)
        ORDER BY c.created_at LIMIT %(most)s FOR UPDATE OF c SKIP LOCKED)
    RETURNING l.delivery_id
), reopened AS (
    UPDATE notifier.notification_deliveries d
    SET status = 'queued', attempts = 0, code = NULL, updated_at = now()
    FROM chosen WHERE d.id = chosen.delivery_id AND d.status = 'failed'
    RETURNING d.id
), told AS (
    INSERT INTO notifier.delivery_journal
        (delivery_id, at, actor, from_status, to_status, attempt, code)
    SELECT r.id, now(), 'operator', 'failed', 'queued', 0, 'replay' FROM reopened r
)
SELECT (SELECT count(*) FROM chosen), (SELECT array_agg(id) FROM reopened)
"""


def reopen(
    connection: Connection,
    most: int,
    *,
    delivery: uuid.UUID | None,
    tenant: uuid.UUID | None,
    channel: str | None,
    event_type: str | None,
    code: str | None,
    since: datetime | None,
) -> tuple[int, int]:
    """Reopen up to `most` dead letters that match; how many were taken off the list, and how many
    of them were still to be sent.
    """
    taken, reopened = connection.exec_driver_sql(
        _REOPEN,
        {
            "most": most,
            "delivery": delivery,
            "tenant": tenant,
            "channel": channel,
            "event_type": event_type,
            "code": code,
            "since": since,
        },
    ).one()
    dispatches.carry(connection, reopened or [])
    return taken, len(reopened or [])
