"""Deliveries in doubt: nobody could tell whether they were sent."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from notifier.words import Channel


@dataclass(frozen=True, slots=True)
class Which:
    """Those that fit everything given. until: which have been in doubt since then or longer."""

    delivery: uuid.UUID | None = None
    tenant: uuid.UUID | None = None
    channel: Channel | None = None
    provider: str | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """A delivery in doubt. reason: of the last who could not tell. since: when it was given up."""

    delivery_id: uuid.UUID
    tenant_id: uuid.UUID
    channel: Channel
    provider: str | None
    reason: str
    since: datetime


def listed(connection: Connection, which: Which, most: int) -> list[Doubt]:
    """Up to `most` that fit, the oldest first."""
    rows = connection.exec_driver_sql(
        "SELECT i.delivery_id, i.tenant_id, i.channel, i.provider, i.reason, i.since "
        "FROM notifier.in_doubt i "
        "WHERE (%(delivery)s::uuid IS NULL OR i.delivery_id = %(delivery)s::uuid) "
        "AND (%(tenant)s::uuid IS NULL OR i.tenant_id = %(tenant)s::uuid) "
        "AND (%(channel)s::text IS NULL OR i.channel = %(channel)s::text) "
        "AND (%(provider)s::text IS NULL OR i.provider = %(provider)s::text) "
        "AND (%(until)s::timestamptz IS NULL OR i.since <= %(until)s::timestamptz) "
        "ORDER BY i.since, i.delivery_id LIMIT %(most)s",
        {
            "delivery": which.delivery,
            "tenant": which.tenant,
            "channel": which.channel,
            "provider": which.provider,
            "until": which.until,
            "most": most,
        },
    )
    return [Doubt(row[0], row[1], Channel(row[2]), *row[3:]) for row in rows]
