"""Login roles for servers of our own: members of the schema's roles, with fresh passwords.

On an operator's server the operator grants `notifier_engine`, `notifier_api` and
`notifier_producer` to logins of their own.
"""

import secrets
from urllib.parse import urlsplit, urlunsplit

from psycopg import sql
from sqlalchemy import Connection

PARTS = ("engine", "api", "producer")


def create_logins(connection: Connection, url: str) -> dict[str, str]:
    """Make (or renew) a login for each part of the product; its URL, from `url`'s host and database.

    Commits.
    """
    urls = {}
    for part in PARTS:
        login, password = f"notifier_{part}_login", secrets.token_hex(16)
        raw = connection.connection.driver_connection
        assert raw is not None
        found = connection.exec_driver_sql(
            "SELECT 1 FROM pg_roles WHERE rolname = %s", (login,)
        ).one_or_none()
        raw.execute(
            sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(
                sql.SQL("ALTER" if found else "CREATE"),
                sql.Identifier(login),
                sql.Literal(password),
            )
        )
        raw.execute(
            sql.SQL("GRANT {} TO {}").format(
                sql.Identifier(f"notifier_{part}"), sql.Identifier(login)
            )
        )
        where = urlsplit(url)
        urls[part] = urlunsplit(
            where._replace(netloc=f"{login}:{password}@{where.hostname}:{where.port}")
        )
    connection.commit()
    return urls
