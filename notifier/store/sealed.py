"""Every sealed value there is, column by column, for `rotate`."""

import uuid
from collections.abc import Sequence

from sqlalchemy import Connection

COLUMNS = (
    ("connections", "access_token"),
    ("connections", "refresh_token"),
    ("pending_connections", "verifier"),
)
"""The tables and columns; each of the tables has an `id`."""


def page(
    connection: Connection, table: str, column: str, after: uuid.UUID, size: int
) -> Sequence[tuple[uuid.UUID, str]]:
    """The next `size` sealed values behind the row `after`, in the order of their ids."""
    rows = connection.exec_driver_sql(
        f"SELECT id, {column} FROM notifier.{table} WHERE id > %s AND {column} IS NOT NULL "
        "ORDER BY id LIMIT %s",
        (after, size),
    )
    return [(row[0], row[1]) for row in rows]


def replace(
    connection: Connection, table: str, column: str, id: uuid.UUID, old: str, new: str
) -> bool:
    """Put `new` in the place of `old`; False where that is not there any more."""
    return bool(
        connection.exec_driver_sql(
            f"UPDATE notifier.{table} SET {column} = %s WHERE id = %s AND {column} = %s",
            (new, id, old),
        ).rowcount
    )
