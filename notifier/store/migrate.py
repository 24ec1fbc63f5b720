"""Bring the schema `notifier` to a version; safe to run from many places at once."""

import time
from functools import cache
from importlib import resources

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from notifier.errors import NotifierError

_LOCK = 0x6E6F7469
_PATIENCE_MS = 2000
"""For how long a step waits for a lock: so long may a producer's emit wait behind it."""
_PAUSE = 1.0
_LONGEST = 600.0


class Busy(NotifierError):
    """Somebody has held a lock for all the time that a migration was tried."""

    def __init__(self) -> None:
        super().__init__(
            f"a table stayed locked for {_LONGEST:.0f} s: end the transaction that holds it "
            "(pg_stat_activity), and migrate again"
        )


def migrate(connection: Connection, version: str = "head") -> None:
    """Upgrade (or, for an older `version`, downgrade) the schema on `connection`.

    One caller migrates at a time; the others wait and find nothing left to do. What needs a lock
    that somebody holds is tried again and again, each time for so short that nobody waits behind
    it for long; raises `Busy` in the end, with all steps done that could be.
    """
    connection.exec_driver_sql("SELECT pg_advisory_lock(%s)", (_LOCK,))
    connection.commit()
    try:
        connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS notifier")
        connection.commit()
        connection.exec_driver_sql(f"SET lock_timeout = {_PATIENCE_MS}")
        connection.commit()
        config = _config()
        config.attributes["connection"] = connection
        until = time.monotonic() + _LONGEST
        while not _stepped(connection, config, version):
            if time.monotonic() > until:
                raise Busy
            time.sleep(_PAUSE)
        connection.commit()
    finally:
        connection.rollback()
        connection.exec_driver_sql("RESET lock_timeout")
        connection.exec_driver_sql("SELECT pg_advisory_unlock(%s)", (_LOCK,))
        connection.commit()


def _stepped(connection: Connection, config: Config, version: str) -> bool:
    """Go on towards the version; False where a step met a lock. Those before it are committed."""
    try:
        if version == "head":
            command.upgrade(config, version)
        else:
            command.downgrade(config, version)
    except (DBAPIError, psycopg.Error) as fault:
        if not isinstance(getattr(fault, "orig", fault), psycopg.errors.LockNotAvailable):
            raise
        connection.rollback()
        return False
    return True


def installed_version(connection: Connection) -> str | None:
    """The version the database is at; None where the schema is missing."""
    found = connection.exec_driver_sql(
        "SELECT to_regclass('notifier.schema_version') IS NOT NULL"
    ).scalar_one()
    if not found:
        return None
    return connection.exec_driver_sql(
        "SELECT version_num FROM notifier.schema_version"
    ).scalar_one_or_none()


@cache
def versions() -> tuple[str, ...]:
    """Every version there is, oldest first."""
    found = ScriptDirectory.from_config(_config()).walk_revisions()
    return tuple(revision.revision for revision in found)[::-1]


def _config() -> Config:
    config = Config()
    # The path is not a template: a percent sign in it stands for itself.
    location = str(resources.files("migrations")).replace("%", "%%")
    config.set_main_option("script_location", location)
    return config
