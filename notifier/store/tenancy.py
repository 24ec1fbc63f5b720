"""Transactions pinned to one tenant: row-level security lets the API's role see no other."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from notifier.store.engine import connect


@contextmanager
def transaction(tenant: uuid.UUID) -> Iterator[Connection]:
    """A transaction that sees `tenant`'s rows; committed at the end, or rolled back by an error."""
    with connect() as connection, connection.begin():
        pin(connection, tenant)
        yield connection


def pin(connection: Connection, tenant: uuid.UUID) -> None:
    """Have the transaction that has begun see `tenant`'s rows."""
    connection.exec_driver_sql("SELECT set_config('notifier.tenant', %s, true)", (str(tenant),))
