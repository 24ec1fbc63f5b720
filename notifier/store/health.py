"""What `doctor` asks the database about itself."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Server:
    """The server and the login this process has on it.

    version: as 18.1. login: its name. mighty: it is a superuser or owns the schema. member: it
    has the privileges of `notifier_engine`; None where there is no such role yet.
    """

    version: str
    login: str
    mighty: bool
    member: bool | None


def server(connection: Connection) -> Server:
    row = connection.exec_driver_sql(
        "SELECT split_part(current_setting('server_version'), ' ', 1) AS version, "
        "current_user AS login, "
        "r.rolsuper OR EXISTS (SELECT FROM pg_namespace n "
        "                      WHERE n.nspname = 'notifier' AND n.nspowner = r.oid) AS mighty, "
        "(SELECT pg_has_role(current_user, e.oid, 'USAGE') FROM pg_roles e "
        " WHERE e.rolname = 'notifier_engine') AS member "
        "FROM pg_roles r WHERE r.rolname = current_user"
    ).one()
    return Server(row.version, row.login, row.mighty, row.member)


def without_partition(connection: Connection, ahead: timedelta) -> list[str]:
    """Partitioned tables that have no partition for the week `ahead` from now."""
    return list(
        connection.exec_driver_sql(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'notifier' AND c.relkind = 'p' AND to_regclass('notifier.' || c.relname "
            "|| '_' || to_char(date_trunc('week', now() + %s, 'UTC') AT TIME ZONE 'UTC', 'YYYYMMDD')) IS NULL "
            "ORDER BY 1",
            (ahead,),
        ).scalars()
    )


def oldest_snapshot(connection: Connection) -> timedelta:
    """How long the oldest transaction that holds back vacuum has run, as far as we may see."""
    age: timedelta = connection.exec_driver_sql(
        "SELECT coalesce(greatest("
        "(SELECT max(clock_timestamp() - xact_start) FROM pg_stat_activity "
        " WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()), "
        "(SELECT max(clock_timestamp() - prepared) FROM pg_prepared_xacts)), interval '0')"
    ).scalar_one()
    return age
