"""Faults that strike between two steps: what they may not lose, double or block."""

import uuid
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from notifier import deliver, emit, reconcile, register
from notifier.channels.contract import Message
from notifier.outcome import Accepted, NotFound, Outcome, Rejected, RetryLater, Unsure
from notifier.settings import Settings
from notifier.store import audience, deliveries
from tests.conftest import Database
from tests.test_deliver import (
    Scripted,
    accept,
    configured,
    due_now,
    lapse,
    run_due,
    sound,
    to,
    worker,
)

__all__ = ["configured", "sound"]


class Died(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


def severed() -> OperationalError:
    return OperationalError("COMMIT", None, psycopg.OperationalError("connection lost"))


@pytest.mark.parametrize("committed", [False, True], ids=["rolled back", "acknowledgement lost"])
def test_outcomes_whose_commit_fails_are_written_once(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
) -> None:
    to(connection, tenant, ["ada", "bob", "eve"])
    write, faults = deliver._write, [1]

    def fails_once(*arguments: Any) -> bool:
        if not faults:
            return write(*arguments)
        faults.pop()
        if committed:
            write(*arguments)
            raise severed()
        with monkeypatch.context() as patched:
            patched.setattr(deliveries, "tell", lambda *_: (_ for _ in ()).throw(severed()))
            return write(*arguments)

    monkeypatch.setattr(deliver, "_write", fails_once)

    def say(message: Message) -> Outcome:
        if message.address.startswith("bob"):
            return RetryLater("503", "busy")
        return accept(message)

    busy = worker(configured, say)
    busy.pace["scripted"] = 4.0  # two sends a window
    run_due(database, busy)
    assert database.statuses() == {"sent": 2, "retrying": 1}
    assert database.query("SELECT cardinality(delivery_ids) FROM notifier.dispatches") == [(1,)]
    assert database.one("SELECT count(*) FROM notifier.delivery_journal") == 3
    assert not database.one("SELECT count(*) FROM notifier.provider_messages WHERE late")


def test_a_call_in_doubt_is_asked_about_though_it_renders_no_more(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    with database.pool.begin() as writer:
        register.event_type(
            writer,
            "test.fragile",
            schema={"type": "object"},
            channels=["sms"],
            texts={"sms": {"text": "{{ recipient.attributes.plan.name }}"}},
        )
    person: dict[str, Any] = {
        "external_id": "planned",
        "attributes": {"plan": {"name": "gold"}},
        "contact_points": [{"channel": "sms", "address": "+14155550999"}],
    }
    audience.upsert_recipients(connection, tenant, [person])
    emit(connection, "test.fragile", {}, tenant=tenant, to={"recipients": ["planned"]})
    connection.commit()
    provider = Scripted(lambda _: Unsure("timeout"), Accepted("found", "sent"))
    run_due(database, worker(configured, provider))
    audience.upsert_recipients(connection, tenant, [{**person, "attributes": {}}])
    connection.commit()
    reconcile.reconcile(
        database.one("SELECT id FROM notifier.dispatches"), worker(configured, provider)
    )
    assert database.statuses() == {"sent": 1}


@pytest.mark.parametrize("end", ["crash", "timeout"])
def test_calls_that_never_arrive_are_not_repeated_for_ever(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    end: str,
) -> None:
    to(connection, tenant, ["ada"], channel="sms")
    calls = []

    def say(message: Message) -> Outcome:
        calls.append(message.attempt)
        if end == "crash":
            raise Died
        return Unsure("timeout")

    provider = Scripted(say, NotFound())
    for _ in range(40):
        due_now(database)
        rows = database.query("SELECT id, kind FROM notifier.dispatches")
        for row in rows:
            act = reconcile.reconcile if row.kind == "reconcile" else deliver.deliver
            try:
                act(row.id, worker(configured, provider))
            except Died:
                lapse(database)
    assert calls == [1, 2, 3, 4, 5]
    assert database.statuses() == {"failed": 1}
    assert database.query("SELECT code FROM notifier.dead_letters") == [("not_found",)]


def test_what_was_not_begun_costs_no_attempt(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"], channel="sms")
    stopping: list[bool] = []

    def last(message: Message) -> Outcome:
        stopping.append(True)
        return accept(message)

    leaving = worker(configured, last)
    leaving.stopping = lambda: bool(stopping)
    run_due(database, leaving)
    provider = Scripted(accept)
    run_due(database, worker(configured, provider))
    assert [message.attempt for message in provider.given] == [1]


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"], ids=["NUL", "half a pair"])
@pytest.mark.parametrize("kind", [Accepted, Rejected, RetryLater, Unsure])
def test_whatever_a_provider_says_can_be_written(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    text: str,
    kind: type,
) -> None:
    to(connection, tenant, ["ada"])
    words: Sequence[str] = (text,) if kind is Unsure else (text, text)
    run_due(database, worker(configured, lambda _: kind(*words)))
    assert database.one("SELECT count(*) FROM notifier.delivery_journal") == 1
