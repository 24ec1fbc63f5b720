"""Bring the schema `notifier` to a version; safe to run from many places at once."""

from functools import cache
from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

_LOCK = 0x6E6F7469


def migrate(connection: Connection, version: str = "head") -> None:
    """Upgrade (or, for an older `version`, downgrade) the schema on `connection`.

    One caller migrates at a time; the others wait and find nothing left to do.
    """
    connection.exec_driver_sql("SELECT pg_advisory_lock(%s)", (_LOCK,))
    connection.commit()
    try:
        connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS notifier")
        connection.commit()
        config = _config()
        config.attributes["connection"] = connection
        if version == "head":
            command.upgrade(config, version)
        else:
            command.downgrade(config, version)
        connection.commit()
    finally:
        connection.rollback()
        connection.exec_driver_sql("SELECT pg_advisory_unlock(%s)", (_LOCK,))
        connection.commit()


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
