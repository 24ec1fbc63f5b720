"""Tenants: the first one, and finding one by its name."""

import uuid

from sqlalchemy import Connection


def create_first(connection: Connection, name: str) -> uuid.UUID | None:
    """Create a tenant where there is none at all; its id, or None."""
    found: uuid.UUID | None = connection.exec_driver_sql(
        "INSERT INTO notifier.tenants (name) SELECT %s "
        "WHERE NOT EXISTS (SELECT FROM notifier.tenants) ON CONFLICT DO NOTHING RETURNING id",
        (name,),
    ).scalar_one_or_none()
    return found


def named(connection: Connection, name: str) -> uuid.UUID | None:
    """The id of the tenant with that name."""
    found: uuid.UUID | None = connection.exec_driver_sql(
        "SELECT id FROM notifier.tenants WHERE name = %s", (name,)
    ).scalar_one_or_none()
    return found


def name_of(connection: Connection, tenant: uuid.UUID) -> str | None:
    """The tenant's name; None where there is no such tenant."""
    found: str | None = connection.exec_driver_sql(
        "SELECT name FROM notifier.tenants WHERE id = %s", (tenant,)
    ).scalar_one_or_none()
    return found


def listed(connection: Connection) -> list[tuple[uuid.UUID, str]]:
    """Every tenant's id and name, oldest first."""
    rows = connection.exec_driver_sql("SELECT id, name FROM notifier.tenants ORDER BY id")
    return [(row.id, row.name) for row in rows]
