"""Real Postgres and Valkey for every test that asks: booted once, one database a test."""

import itertools
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import hypothesis
import pytest
from sqlalchemy import Connection, Engine

from notifier import breaker, connections, limits, queue, register, sealing, signing
from notifier.local import Services, boot
from notifier.settings import settings
from notifier.store import audience
from notifier.store import engine as store_engine
from notifier.store.engine import engine_for
from notifier.store.migrate import migrate
from notifier.store.roles import create_logins

# Every run tries the same examples; `--hypothesis-profile=many` tries new and many more of them.
hypothesis.settings.register_profile("few", derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile(
    "many",
    # Where CI is set, hypothesis would otherwise repeat itself.
    derandomize=False,
    max_examples=400,
    stateful_step_count=60,
    deadline=None,
    database=None,
)
hypothesis.settings.load_profile("few")

TEMPLATE = "notifier_template"
_numbers = itertools.count()


def forget() -> None:
    """Make this process read its environment again."""
    if store_engine.pool.is_made:
        store_engine.pool().dispose()
    if queue.redis.is_made:
        queue.redis().close()
    if queue.producer.is_made:
        queue.producer().close()
    for cached in (
        *(settings, store_engine.pool, queue.producer, queue.redis),
        *(signing.keys, sealing._keys, breaker._scripts, limits._script),
    ):
        cached.cache_clear()
    connections._known.clear()


@dataclass
class Database:
    """One test's database, as the roles of the product see it."""

    admin_url: str
    engine_url: str
    api_url: str
    producer_url: str
    redis_url: str
    pool: Engine

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Rows, read as the engine's role in a transaction of its own."""
        with self.pool.connect() as connection:
            return list(connection.exec_driver_sql(statement, values or None).all())

    def one(self, statement: str, *values: Any) -> Any:
        """The single value of a query."""
        ((value,),) = self.query(statement, *values)
        return value

    def statuses(self) -> dict[str, int]:
        """How many deliveries stand in each status."""
        return dict(
            self.query(
                "SELECT status, count(*) FROM notifier.notification_deliveries GROUP BY status"
            )
        )


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    with boot(None) as running:
        yield running


def at(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@pytest.fixture(scope="session")
def logins(services: Services) -> dict[str, str]:
    """A migrated template database with the shipped catalogue, and the logins of its roles."""
    server = engine_for(services.admin_url)
    with server.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(
            f"CREATE DATABASE {TEMPLATE}"
        )
    server.dispose()
    template = engine_for(at(services.admin_url, TEMPLATE))
    with template.connect() as connection:
        migrate(connection)
        register.shipped(connection)
        connection.commit()
        urls = create_logins(connection, services.admin_url)
    template.dispose()
    return urls


@pytest.fixture
def database(
    services: Services, logins: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    name = f"test_{next(_numbers)}"
    server = engine_for(services.admin_url)
    with server.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(
            f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}"
        )
    for variable in [name for name in os.environ if name.startswith("NOTIFIER_")]:
        if variable != "NOTIFIER_POSTGRES_BIN":
            monkeypatch.delenv(variable)
    monkeypatch.setenv("NOTIFIER_DATABASE_URL", at(logins["engine"], name))
    monkeypatch.setenv("NOTIFIER_REDIS_URL", services.redis_url)
    forget()
    queue.redis().flushall()
    pool = engine_for(at(logins["engine"], name))
    yield Database(
        at(services.admin_url, name),
        at(logins["engine"], name),
        at(logins["api"], name),
        at(logins["producer"], name),
        services.redis_url,
        pool,
    )
    pool.dispose()
    forget()
    with server.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(
            f"DROP DATABASE {name} WITH (FORCE)"
        )
    server.dispose()


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A connection as the engine's role."""
    with database.pool.connect() as connection:
        yield connection


@pytest.fixture
def tenant(connection: Connection) -> uuid.UUID:
    """A tenant with three recipients: ada (an admin), bob and eve."""
    made = audience.create_tenant(connection, "acme")
    audience.upsert_recipients(
        connection,
        made,
        [
            {
                "external_id": name,
                "name": name.title(),
                "is_admin": name == "ada",
                "contact_points": [
                    {"channel": "email", "address": f"{name}@example.com"},
                    {"channel": "sms", "address": f"+1415555010{place}"},
                ],
            }
            for place, name in enumerate(("ada", "bob", "eve"))
        ],
    )
    connection.commit()
    return made
