"""Postgres or Redis fails under a process that goes on living: what that may not cost."""

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from kombu.exceptions import OperationalError as CeleryError
from redis.exceptions import ConnectionError as RedisGone
from sqlalchemy import Connection
from sqlalchemy.exc import InternalError, OperationalError

from notifier import reconcile, record, relay
from notifier.outcome import Accepted, Unsure
from notifier.settings import Settings
from notifier.store import deliveries, dispatches
from notifier.store.dispatches import Rung
from notifier.store.engine import connect
from notifier.words import Channel
from notifier.worker import Worker
from tests.conftest import Database
from tests.engine import Scripted, accept, configured, due_now, run_due, sound, to, worker
from tests.test_record import severed
from workers.broker import QoS

__all__ = ["configured", "sound"]


def read_only() -> InternalError:
    return InternalError("UPDATE", None, psycopg.errors.ReadOnlySqlTransaction("read-only"))


def failing(real: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
    """`real`, with the connection lost before it or its answer lost after it."""

    def fails(*arguments: Any, **options: Any) -> Any:
        if not before:
            real(*arguments, **options)
        raise severed()

    return fails


@pytest.mark.parametrize(
    ("place", "name", "before"),
    [
        (dispatches, "claim", False),
        (deliveries, "load", True),
        (deliveries, "stopped", True),
    ],
    ids=["the claim's answer", "loading", "the look for what was cancelled"],
)
def test_losing_the_database_again_and_again_makes_no_poison(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
    place: Any,
    name: str,
    before: bool,
) -> None:
    to(connection, tenant, ["ada"])
    for _ in range(6):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, failing(getattr(place, name), before=before))
            with pytest.raises(OperationalError):
                run_due(database, worker(configured))
        # Let go: nobody has to wait for the lease, and nobody has died.
        assert database.query(
            "SELECT attempts, lease_until <= clock_timestamp() FROM notifier.dispatches"
        ) == [(0, True)]
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 1}


def test_a_claim_that_never_was_is_let_go_of_without_harm_to_another_s(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    with database.pool.begin() as writer:
        held = dispatches.claim(writer, dispatch, configured.lease)
        dispatches.let_go(writer, dispatch, uuid.uuid4())
    assert held is not None
    assert database.query(
        "SELECT attempts, lease_until > clock_timestamp() FROM notifier.dispatches"
    ) == [(1, True)]
    with database.pool.begin() as writer:
        writer.exec_driver_sql("UPDATE notifier.dispatches SET token = NULL, lease_until = NULL")
    run_due(database, worker(configured))


def test_a_question_whose_answer_could_not_be_written_is_asked_again_at_once(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to(connection, tenant, ["ada"], channel="sms")
    run_due(database, worker(configured, lambda _: Unsure("no answer")))
    asking = Worker(
        dict.fromkeys(Channel, (Scripted(accept, Accepted("id", "250 ok")),)), configured
    )
    question = database.one("SELECT id FROM notifier.dispatches WHERE kind = 'reconcile'")
    with monkeypatch.context() as patched:
        patched.setattr(dispatches, "shrink", failing(dispatches.shrink, before=True))
        with pytest.raises(OperationalError):
            reconcile.reconcile(question, asking)
    reconcile.reconcile(question, asking)
    assert database.statuses() == {"sent": 1}


def test_outcomes_wait_for_a_database_that_is_read_only_for_a_moment(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to(connection, tenant, ["ada"])
    write, faults = record._write, [1, 1]

    def fails_twice(*arguments: Any) -> bool:
        if faults:
            faults.pop()
            raise read_only()
        return write(*arguments)

    monkeypatch.setattr(record, "_write", fails_twice)
    provider = Scripted(accept)
    run_due(database, worker(configured, provider))
    assert database.statuses() == {"sent": 1}
    assert len(provider.given) == 1


def test_the_relay_outlives_whatever_postgres_and_redis_raise(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to(connection, tenant, ["ada"])
    faults: list[Exception] = [severed(), read_only(), CeleryError("timed out"), OSError("reset")]
    once = relay.relay_once

    def fails_at_first(settings: Settings) -> list[Rung]:
        if faults:
            raise faults.pop()
        return once(settings)

    def rounds() -> Iterator[bool]:
        yield from (False,) * 5
        while True:
            yield True

    stopping = rounds()
    monkeypatch.setattr(relay, "relay_once", fails_at_first)
    monkeypatch.setattr(relay, "PAUSE_AFTER_FAILURE", 0.0)
    relay.run(configured, lambda: next(stopping))
    assert database.one("SELECT rings FROM notifier.dispatches") == 1
    due_now(database)
    run_due(database, worker(configured))


@pytest.mark.parametrize("requeue", [None, False, True], ids=["ack", "reject", "requeue"])
def test_a_worker_whose_acknowledgement_failed_takes_more_messages(
    monkeypatch: pytest.MonkeyPatch, requeue: bool | None
) -> None:
    """Without that it never asks Redis for anything again, and stays up, idle."""
    counting: Any = QoS(SimpleNamespace(do_restore=False), prefetch_count=1)  # type: ignore[no-untyped-call]

    def gone(*_: Any, **__: Any) -> Any:
        raise RedisGone("closed")

    monkeypatch.setattr(counting, "_remove_from_indices", gone)
    monkeypatch.setattr(counting, "restore_by_tag", gone)
    counting._delivered["tag"] = "message"
    assert not counting.can_consume()
    settle = counting.ack if requeue is None else partial(counting.reject, requeue=requeue)
    with pytest.raises(RedisGone):
        settle("tag")
    assert counting.can_consume()


def test_a_process_that_freezes_in_a_transaction_keeps_its_locks_no_longer_than_its_lease(
    configured: Settings,
) -> None:
    with connect() as connection:
        shown = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one()
        connection.rollback()
        kept = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one()
    assert (shown, kept) == (f"{configured.lease_seconds:g}s",) * 2
