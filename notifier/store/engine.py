"""Connections to Postgres: one pool per process, made after the fork."""

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import InternalError, OperationalError

from notifier.errors import SettingError
from notifier.once import once
from notifier.settings import or_of_up, settings

__all__ = ["UNAVAILABLE", "Connection", "connect", "engine_for", "pool", "read_all", "statement"]

UNAVAILABLE = (OperationalError, InternalError)
"""What a statement raises while Postgres can not do its work, and may do it again by itself later:
it is away or starting, or (an internal error to psycopg) read-only, as after a failover."""


def engine_for(url: str, size: int = 5) -> Engine:
    """A pool of up to `size` connections to `url`.

    Statements are prepared from their third use: planning a join over partitions costs more than
    running it. A PgBouncer in transaction mode may stand between from version 1.22 on, which
    keeps prepared statements itself (`max_prepared_statements`).
    """
    scheme, _, rest = url.partition("://")
    if scheme not in {"postgresql", "postgres"}:
        raise SettingError("NOTIFIER_DATABASE_URL", "a Postgres URL")
    return create_engine(
        f"postgresql+psycopg://{rest}",
        pool_size=size,
        max_overflow=0,
        pool_pre_ping=False,
        connect_args={
            "prepare_threshold": 3,
            "connect_timeout": 5,
            "application_name": "notifier",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            # Keepalives do not cover what was sent and never acknowledged; milliseconds.
            "tcp_user_timeout": 25_000,
        },
    )


@once
def pool() -> Engine:
    """This process's pool for `NOTIFIER_DATABASE_URL`."""
    url = settings().database_url
    if not url:
        raise SettingError("NOTIFIER_DATABASE_URL", f"a Postgres URL ({or_of_up()})")
    engine = engine_for(url)
    milliseconds = int(settings().lease_seconds * 1000)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # Not startup options: PgBouncer refuses those.
        with connection.cursor() as cursor:
            # A process that freezes in the middle of a transaction keeps the lock on its dispatch:
            # without a bound nobody could take that over, however long ago its lease has ended.
            cursor.execute(f"SET idle_in_transaction_session_timeout = {milliseconds}")
            # Everything here is looked up by its key, a chunk's worth at most. A plan made while a
            # week's partition was empty would read the whole of it, again and again, as it fills.
            cursor.execute("SET enable_seqscan = off")
        connection.commit()

    return engine


def connect() -> Connection:
    """A connection of this process's pool, for a `with` block."""
    return pool().connect()


def read_all(connection: Connection) -> None:
    """Let this transaction read whole tables: it asks about everything there is."""
    connection.exec_driver_sql("SET LOCAL enable_seqscan = on")


def statement() -> Connection:
    """Like `connect`, but each statement is a transaction of its own.

    Saves the round trips of BEGIN and COMMIT, which cost as much as a small statement does.
    """
    return pool().connect().execution_options(isolation_level="AUTOCOMMIT")
