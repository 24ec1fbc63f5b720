"""What an operator should know: curated system events, and the state `doctor` asks about."""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from notifier.store.engine import read_all
from notifier.words import Severity


def raise_event(
    connection: Connection,
    severity: Severity,
    kind: str,
    message: str,
    detail: Mapping[str, Any],
    tenant: uuid.UUID | None = None,
) -> None:
    """Write a system event. tenant: whom alone it concerns."""
    connection.exec_driver_sql(
        "INSERT INTO notifier.admin_system_events (tenant_id, severity, kind, message, detail) "
        "VALUES (%s, %s, %s, %s, %s::jsonb)",
        (tenant, severity, kind, message, json.dumps(dict(detail), default=str)),
    )


def ensure_partitions(connection: Connection, ahead: timedelta) -> int:
    """Make the partitions from this week until `ahead` from now; how many were missing."""
    return int(
        connection.exec_driver_sql(
            "SELECT notifier.ensure_partitions(clock_timestamp(), clock_timestamp() + %s)",
            (ahead,),
        ).scalar_one()
    )


def now(connection: Connection) -> datetime:
    """The database's clock."""
    moment: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    return moment


# Foreign keys between tables this hot cost most of the throughput, and one that points at a
# partitioned table blocks dropping partitions: these queries stand in for them.
CHECKS = {
    "every unfinished delivery is carried by exactly one dispatch": """
        SELECT d.id FROM notifier.notification_deliveries d
        LEFT JOIN (SELECT x.id, count(*) AS times FROM notifier.dispatches, unnest(delivery_ids) AS x(id)
                   GROUP BY x.id) carried ON carried.id = d.id
        WHERE d.status IN ('scheduled', 'queued', 'sending', 'retrying')
          AND coalesce(carried.times, 0) <> 1""",
    # What a receipt finished while a worker had it in hand leaves with that worker's next write.
    "no dispatch carries a finished delivery": """
        SELECT d.id FROM notifier.dispatches p CROSS JOIN unnest(p.delivery_ids) AS x(id)
        LEFT JOIN notifier.notification_deliveries d ON d.id = x.id
        WHERE d.id IS NULL OR (d.status NOT IN ('scheduled', 'queued', 'sending', 'retrying')
                               AND p.token IS NULL)""",
    "every delivery in doubt is listed": """
        SELECT d.id FROM notifier.notification_deliveries d
        LEFT JOIN notifier.in_doubt i ON i.delivery_id = d.id
        WHERE (d.status = 'unknown') <> (i.delivery_id IS NOT NULL)""",
    "every delivery belongs to an event": """
        SELECT d.id FROM notifier.notification_deliveries d
        WHERE NOT EXISTS (SELECT FROM notifier.notification_events e WHERE e.id = d.event_id)""",
    "every journal ends at the delivery's present status": """
        SELECT d.id FROM notifier.notification_deliveries d
        LEFT JOIN LATERAL (SELECT j.to_status FROM notifier.delivery_journal j
                           WHERE j.delivery_id = d.id ORDER BY j.at DESC, j.id DESC LIMIT 1) last ON true
        WHERE coalesce(last.to_status, CASE WHEN d.status IN ('queued', 'scheduled', 'refused')
                                            THEN d.status END) IS DISTINCT FROM d.status""",
    "every journal is a chain": """
        SELECT delivery_id FROM (
            SELECT j.delivery_id, j.from_status,
                   lag(j.to_status) OVER (PARTITION BY j.delivery_id ORDER BY j.at, j.id) AS came_from
            FROM notifier.delivery_journal j) x
        WHERE came_from IS NOT NULL AND came_from <> from_status""",
    "whatever was sent has a time": """
        SELECT d.id FROM notifier.notification_deliveries d
        WHERE (d.status IN ('sent', 'delivered', 'opened', 'clicked') AND d.sent_at IS NULL)
           OR (d.status = 'delivered' AND d.delivered_at IS NULL)""",
    "an event's counts are its deliveries": """
        SELECT e.id FROM notifier.notification_events e
        LEFT JOIN (SELECT d.event_id, count(*) AS matched, count(*) FILTER (WHERE reason IS NULL) AS created
                   FROM notifier.notification_deliveries d GROUP BY d.event_id) d ON d.event_id = e.id
        WHERE e.matched <> coalesce(d.matched, 0) OR e.created <> coalesce(d.created, 0)
           OR e.matched <> e.created + e.refused""",
}
"""What must hold whenever nothing is being written, each as a query for the rows that break it."""


def violations(connection: Connection) -> dict[str, int]:
    """The checks that do not hold, with how many rows break each."""
    read_all(connection)
    broken = {}
    for name, query in CHECKS.items():
        count = connection.exec_driver_sql(f"SELECT count(*) FROM ({query}) broken").scalar_one()
        if count:
            broken[name] = int(count)
    return broken
