"""Which providers tenants want for a channel, where they want others than the installation."""

import uuid
from collections.abc import Sequence

from sqlalchemy import Connection

from notifier.words import Channel

Row = tuple[uuid.UUID, Channel, str, int, int]
"""(tenant, channel, provider, place, weight)"""


def load(connection: Connection) -> list[Row]:
    """Every tenant's own routes. A tenant that has none takes the installation's."""
    rows = connection.exec_driver_sql(
        "SELECT tenant_id, channel, provider, place, weight FROM notifier.provider_routes "
        "ORDER BY tenant_id, channel, place, provider"
    )
    return [(row[0], Channel(row[1]), row[2], row[3], row[4]) for row in rows]


def replace(
    connection: Connection,
    tenant: uuid.UUID,
    channel: Channel,
    ways: Sequence[tuple[str, int, int]],
) -> None:
    """Set a tenant's route for a channel: (provider, place, weight); none: the installation's."""
    connection.exec_driver_sql(
        "DELETE FROM notifier.provider_routes WHERE tenant_id = %s AND channel = %s",
        (tenant, channel),
    )
    for provider, place, weight in ways:
        connection.exec_driver_sql(
            "INSERT INTO notifier.provider_routes (tenant_id, channel, provider, place, weight) "
            "VALUES (%s, %s, %s, %s, %s)",
            (tenant, channel, provider, place, weight),
        )
