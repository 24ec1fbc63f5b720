"""Reading back what was emitted: an event, its deliveries page by page, and one's journey."""

import uuid
from typing import Any

from sqlalchemy import Connection

from notifier.store.addresses import shown

_DELIVERY = f"""
SELECT d.id, d.event_id, r.external_id AS recipient, d.channel, {shown("d")} AS address,
       d.locale, d.step, d.status, d.reason, d.attempts, d.provider, d.code, d.template_id,
       notifier.id_time(d.id) AS created_at, d.updated_at, d.sent_at, d.delivered_at, d.opened_at,
       d.clicked_at
FROM notifier.notification_deliveries d LEFT JOIN notifier.recipients r ON r.id = d.recipient_id
"""

# An event's deliveries share its milliseconds, so the bounds prune and walk the primary key.
_OF_EVENT = (
    "d.event_id = %(event)s AND d.tenant_id = %(tenant)s "
    "AND d.id BETWEEN notifier.id_low(%(event)s) AND notifier.id_high(%(event)s) "
)


def find(connection: Connection, tenant: uuid.UUID, event: uuid.UUID) -> dict[str, Any] | None:
    """An event of the tenant, with how many of its deliveries stand in each status."""
    row = (
        connection.exec_driver_sql(
            "SELECT e.id, e.type AS event_type, e.payload, "
            "CASE WHEN e.audience = '{\"subscribers\": true}' THEN '\"subscribers\"' "
            "ELSE e.audience END AS audience, e.source, e.lane, e.correlation_id, e.actor, "
            "e.idempotency_key, e.scheduled_for, e.expires_at, e.created_at, e.fanned_out_at, "
            "e.matched, e.created, e.refused, c.cancelled_at, "
            "coalesce(e.escalation, '[]') AS escalation, a.created_at AS acknowledged_at, "
            "a.how AS acknowledged_by FROM notifier.notification_events e "
            "LEFT JOIN notifier.acknowledgements a ON a.event_id = e.id LEFT JOIN LATERAL ("
            "SELECT min(x.created_at) AS cancelled_at FROM notifier.event_cancellations x "
            "WHERE x.event_id = e.id AND x.delivery_id IS NULL) c ON true "
            "WHERE e.id = %(event)s AND e.tenant_id = %(tenant)s",
            {"event": event, "tenant": tenant},
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    rows = connection.exec_driver_sql(
        f"SELECT d.status, count(*) FROM notifier.notification_deliveries d WHERE {_OF_EVENT}"
        "GROUP BY d.status ORDER BY d.status",
        {"event": event, "tenant": tenant},
    )
    return {**row, "statuses": {row[0]: row[1] for row in rows}}


def exists(connection: Connection, tenant: uuid.UUID, event: uuid.UUID) -> bool:
    """Whether the tenant has such an event."""
    return bool(
        connection.exec_driver_sql(
            "SELECT EXISTS (SELECT FROM notifier.notification_events e "
            "WHERE e.id = %s AND e.tenant_id = %s)",
            (event, tenant),
        ).scalar_one()
    )


def page(
    connection: Connection,
    tenant: uuid.UUID,
    event: uuid.UUID,
    *,
    after: uuid.UUID | None,
    limit: int,
    status: str | None = None,
    channel: str | None = None,
    recipient: str | None = None,
) -> list[dict[str, Any]]:
    """Up to `limit` deliveries of an event in the order of their ids, those after `after`.

    recipient: the external id of whose deliveries are wanted.
    """
    rows = connection.exec_driver_sql(
        f"{_DELIVERY} WHERE {_OF_EVENT}"
        "AND (%(after)s::uuid IS NULL OR d.id > %(after)s::uuid) "
        "AND (%(status)s::text IS NULL OR d.status = %(status)s::text) "
        "AND (%(channel)s::text IS NULL OR d.channel = %(channel)s::text) "
        "AND (%(recipient)s::text IS NULL OR r.external_id = %(recipient)s::text) "
        "ORDER BY d.id LIMIT %(limit)s",
        {
            "event": event,
            "tenant": tenant,
            "after": after,
            "limit": limit,
            "status": status,
            "channel": channel,
            "recipient": recipient,
        },
    ).mappings()
    return [dict(row) for row in rows]


def find_delivery(
    connection: Connection, tenant: uuid.UUID, delivery: uuid.UUID
) -> dict[str, Any] | None:
    """A delivery of the tenant with its journey: every move, the oldest first."""
    row = (
        connection.exec_driver_sql(
            f"{_DELIVERY} WHERE d.id = %s AND d.tenant_id = %s", (delivery, tenant)
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    journey = connection.exec_driver_sql(
        'SELECT j.at, j.actor, j.from_status AS "from", j.to_status AS "to", j.attempt, j.claim, '
        "j.provider, j.code, j.detail FROM notifier.delivery_journal j "
        "WHERE j.delivery_id = %s ORDER BY j.at, j.id",
        (delivery,),
    ).mappings()
    return {**row, "journey": [dict(step) for step in journey]}
