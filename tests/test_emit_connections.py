"""Emit in every kind of transaction a producer may hold, and the poke that follows its commit."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import django
import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from notifier import emit, emit_async, queue
from notifier.errors import Refused
from tests.conftest import Database
from tests.test_emit import TASK


def events(database: Database) -> int:
    return int(database.one("SELECT count(*) FROM notifier.notification_events"))


@pytest.fixture
def pokes(database: Database) -> Iterator[Any]:
    heard = queue.pokes()
    assert database
    heard.get_message(timeout=1)
    yield heard
    heard.close()


def heard(pokes: Any) -> int:
    """How many pokes come within a moment."""
    count = 0
    while pokes.get_message(timeout=0.3):
        count += 1
    return count


def test_a_session_pokes_once_after_its_commit_and_not_after_a_rollback(
    database: Database, tenant: uuid.UUID, pokes: Any
) -> None:
    with Session(database.pool) as session:
        emit(session, "task.due_soon", TASK, tenant=tenant)
        session.rollback()
        assert heard(pokes) == 0
        for _ in range(3):
            emit(session, "task.due_soon", TASK, tenant=tenant)
        assert heard(pokes) == 0
        session.commit()
        assert heard(pokes) == 1
        session.commit()
        assert heard(pokes) == 0
    assert events(database) == 3


def test_a_savepoint_is_not_the_commit(database: Database, tenant: uuid.UUID, pokes: Any) -> None:
    with database.pool.connect() as connection:
        with connection.begin():
            with connection.begin_nested():
                emit(connection, "task.due_soon", TASK, tenant=tenant)
            assert heard(pokes) == 0
            nested = connection.begin_nested()
            emit(connection, "task.due_soon", TASK, tenant=tenant)
            nested.rollback()
        assert heard(pokes) == 1
    assert events(database) == 1


def test_an_emit_is_none_the_worse_for_a_dead_redis(
    database: Database, tenant: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    from notifier import poke

    monkeypatch.setattr(poke, "_off_until", 0.0)
    monkeypatch.setattr(poke, "_client", None)
    monkeypatch.setenv("NOTIFIER_REDIS_URL", "redis://127.0.0.1:1/0")
    with database.pool.connect() as connection, connection.begin():
        emit(connection, "task.due_soon", TASK, tenant=tenant)
    assert events(database) == 1
    assert poke._off_until > 0


@pytest.mark.parametrize("factory", [None, dict_row])
def test_a_psycopg_connection(database: Database, tenant: uuid.UUID, factory: Any) -> None:
    options = {} if factory is None else {"row_factory": factory}
    with psycopg.connect(database.producer_url, **options) as connection:
        event = emit(connection, "task.due_soon", TASK, tenant=tenant)
        connection.rollback()
        with pytest.raises(Refused):
            emit(connection, "no.such", TASK, tenant=tenant)
        event = emit(connection, "task.due_soon", TASK, tenant=tenant)
    assert database.one("SELECT id FROM notifier.notification_events") == event.id


def test_async_psycopg_and_async_sessions(database: Database, tenant: uuid.UUID) -> None:
    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(database.producer_url) as connection:
            await emit_async(connection, "task.due_soon", TASK, tenant=tenant)
        url = database.producer_url.replace("postgresql://", "postgresql+psycopg://")
        engine = create_async_engine(url)
        async with AsyncSession(engine) as session:
            await emit_async(session, "task.due_soon", TASK, tenant=tenant, actor="async")
            await session.commit()
            await emit_async(session, "task.due_soon", TASK, tenant=tenant)
            await session.rollback()
        async with engine.connect() as connection:
            with pytest.raises(Refused):
                await emit_async(connection, "no.such", TASK, tenant=tenant)
            await emit_async(connection, "task.due_soon", TASK, tenant=tenant)
            await connection.commit()
        await engine.dispose()

    asyncio.run(run())
    assert events(database) == 3


def test_what_is_no_connection_is_told_with_what_would_be(
    database: Database, tenant: uuid.UUID
) -> None:
    async_engine = create_async_engine("postgresql+psycopg://nowhere")
    sync = "a SQLAlchemy Session or Connection, a psycopg connection, or Django's"
    for given in (database.pool, "x", None, AsyncSession(async_engine), async_engine.connect()):
        with pytest.raises(TypeError) as told:
            emit(given, "task.due_soon", TASK, tenant=tenant)
        assert str(told.value) == f"connection: expected {sync}, not {type(given).__name__}"
    with psycopg.connect(database.producer_url) as psycopg_connection:
        for wrong in (async_engine, database.pool, psycopg_connection, "x"):
            with pytest.raises(
                TypeError, match="expected an AsyncSession, an open AsyncConnection"
            ):
                asyncio.run(emit_async(wrong, "task.due_soon", TASK, tenant=tenant))

    async def in_a_synchronous_call() -> None:
        async with await psycopg.AsyncConnection.connect(database.producer_url) as connection:
            with pytest.raises(TypeError, match="not AsyncConnection"):
                emit(connection, "task.due_soon", TASK, tenant=tenant)

    asyncio.run(in_a_synchronous_call())
    assert events(database) == 0


def test_djangos_connection(database: Database, tenant: uuid.UUID, pokes: Any) -> None:
    from django.conf import settings as django_settings

    where = urlsplit(database.producer_url)
    name = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": where.path[1:],
        "USER": where.username,
        "PASSWORD": where.password,
        "HOST": where.hostname,
        "PORT": where.port,
    }
    if not django_settings.configured:
        django_settings.configure(DATABASES={"default": name}, LOGGING_CONFIG=None)
        django.setup()
    from django.db import connection, transaction

    with transaction.atomic():
        emit(connection, "task.due_soon", TASK, tenant=tenant)
        assert heard(pokes) == 0
    assert heard(pokes) == 1
    with transaction.atomic():
        emit(connection, "task.due_soon", TASK, tenant=tenant)
        transaction.set_rollback(True)
    assert heard(pokes) == 0
    connection.close()
    assert events(database) == 1
