"""Login roles for servers of our own: members of the schema's roles.

On an operator's server the operator grants `notifier_engine`, `notifier_api` and
`notifier_producer` to logins of their own.
"""

import secrets
from urllib.parse import unquote, urlsplit, urlunsplit

from psycopg import sql
from sqlalchemy import Connection

from notifier.errors import SettingError

PARTS = ("engine", "api", "producer")


def create_logins(connection: Connection, url: str) -> dict[str, str]:
    """Make (or renew) a login for each part of the product, with a fresh password; its URL, from
    `url`'s host and database. Commits.
    """
    urls = {part: login_url(url, part, secrets.token_hex(16)) for part in PARTS}
    for part, made in urls.items():
        ensure_login(connection, made, part)
    return urls


def login_url(url: str, part: str, password: str) -> str:
    """The URL of a part's login at `url`'s host and database."""
    where = urlsplit(url)
    netloc = f"notifier_{part}_login:{password}@{where.hostname}:{where.port}"
    return urlunsplit(where._replace(netloc=netloc))


def ensure_login(connection: Connection, url: str, part: str) -> None:
    """Make the login that `url` names, or give it the password of `url`; a member of the part's
    role. Raises `SettingError` where the URL has no user and password. Commits.
    """
    where = urlsplit(url)
    if not where.username or not where.password:
        raise SettingError("NOTIFIER_DATABASE_URL", "a Postgres URL with a user and a password")
    _make(connection, unquote(where.username), unquote(where.password), part)
    connection.commit()


def _make(connection: Connection, login: str, password: str, part: str) -> None:
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
    if part == "engine":
        # `store.engine.pool` sets both for its sessions, the second to the lease; behind PgBouncer in
        # transaction mode a session of ours is another one of the server's each time, and has these.
        for setting in ("enable_seqscan = off", "idle_in_transaction_session_timeout = '60s'"):
            raw.execute(
                sql.SQL("ALTER ROLE {} SET {}").format(sql.Identifier(login), sql.SQL(setting))
            )
    raw.execute(
        sql.SQL("GRANT {} TO {}").format(sql.Identifier(f"notifier_{part}"), sql.Identifier(login))
    )
