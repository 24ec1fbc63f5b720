"""Faults that strike between two steps: what they may not lose, double or block."""

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from notifier import deliver, emit, receipts, reconcile, record, register, relay
from notifier.channels import registry
from notifier.channels.contract import MayStart, Message
from notifier.errors import InvalidPayload, InvalidValue
from notifier.outcome import Accepted, NotFound, Outcome, Rejected, RetryLater, Unsure
from notifier.retry import STEPS
from notifier.settings import Settings
from notifier.status import Status
from notifier.store import audience, deliveries
from notifier.worker import Worker
from tests.conftest import Database
from tests.engine import (
    Died,
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
from tests.test_emit import TASK

__all__ = ["configured", "sound"]


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
    write, faults = record._write, [1]

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

    monkeypatch.setattr(record, "_write", fails_once)

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


HOSTILE = {"nested": "[" * 5000 + "]" * 5000, "digits": "9" * 5000}
"""JSON that Postgres holds and Python's parser does not."""


def open_type(database: Database) -> None:
    """An event type whose payload may hold anything."""
    with database.pool.begin() as writer:
        register.event_type(
            writer,
            "test.open",
            schema={"type": "object"},
            channels=["email"],
            texts={"email": {"subject": "s", "text": "x"}},
        )


@pytest.mark.parametrize("payload", HOSTILE)
def test_an_event_no_worker_can_load_holds_up_no_other(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    payload: str,
) -> None:
    """Emit refuses such a payload: this one was written by another hand."""
    open_type(database)
    event = emit(connection, "test.open", {}, tenant=tenant, to={"recipients": ["ada"]})
    for name in ("bob", "eve"):
        to(connection, tenant, [name])
    with psycopg.connect(database.admin_url) as admin:
        admin.execute(
            "UPDATE notifier.notification_events SET payload = %s::jsonb WHERE id = %s",
            (f'{{"a": {HOSTILE[payload]}}}', event.id),
        )
    relay.relay_once(configured)
    for _ in range(30):
        due_now(database)
        for (dispatch,) in database.query("SELECT id FROM notifier.dispatches"):
            try:
                deliver.deliver(dispatch, worker(configured))
            except Exception:
                lapse(database)
    assert database.statuses()["sent"] == 2
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (HOSTILE["nested"], "at most 100 nested levels"),
        (HOSTILE["digits"], "numbers of at most 1000 digits"),
        ("-" + HOSTILE["digits"], "numbers of at most 1000 digits"),
        ('[1, {"b": 1e1000}, "' + "x" * 1000 + '"]', "numbers of at most 1000 digits"),
        ("[" * 100 + "]" * 100, "at most 100 nested levels"),
        ('{"b":' * 99 + "[]" + "}" * 99, "at most 100 nested levels"),
        ("[" * 99 + "]" * 99, None),
        ("9" * 1000, None),
        (f'"{HOSTILE["digits"]}"', None),
        (f'"{HOSTILE["nested"]}"', None),
        ("1e-1000", None),
        (f"[{'[],' * 5000} {'9' * 1000}]", None),
    ],
    ids=range(12),
)
def test_a_payload_no_worker_could_load_is_refused_by_name(
    database: Database, tenant: uuid.UUID, value: str, expected: str | None
) -> None:
    open_type(database)
    with psycopg.connect(database.producer_url) as producer:
        found = producer.execute(
            "SELECT error_code, error_field, error_expected FROM notifier.emit("
            "%s, 'test.open', %s::jsonb, '{\"recipients\": [\"ada\"]}', '{}')",
            (str(tenant), f'{{"fine": 1, "a": {value}}}'),
        ).fetchone()
    assert found == (("invalid_payload", "payload.a", expected) if expected else (None,) * 3)
    if expected is None:
        ((payload,),) = database.query("SELECT payload FROM notifier.notification_events")
        assert json.dumps(payload)


def test_attributes_no_worker_could_load_are_refused_by_name(
    connection: Connection, tenant: uuid.UUID
) -> None:
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    for value in (deep, 10**2000):
        given = [{"external_id": "a"}, {"external_id": "b", "attributes": {"fine": 1, "x": value}}]
        with pytest.raises(InvalidValue) as refusal:
            audience.upsert_recipients(connection, tenant, given)
        assert refusal.value.field == "recipients[1].attributes.x"


def test_nesting_without_end_is_refused_before_it_reaches_the_database(
    connection: Connection, tenant: uuid.UUID
) -> None:
    payload: dict[str, Any] = {}
    for _ in range(20_000):
        payload = {"a": payload}
    with pytest.raises(InvalidPayload) as refusal:
        emit(connection, "task.due_soon", payload, tenant=tenant)
    assert refusal.value.field == "payload"
    to(connection, tenant, ["ada"])


def test_a_template_no_worker_can_compile_holds_up_no_other(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"])
    broken = database.one("SELECT notifier.new_id()")
    with psycopg.connect(database.admin_url) as admin:
        admin.execute(
            "INSERT INTO notifier.templates SELECT (jsonb_populate_record(t, jsonb_build_object("
            "'id', %s::text, 'version', 999, 'parts', (SELECT jsonb_object_agg(k, '{%% if') "
            "FROM jsonb_object_keys(t.parts) k)))).* FROM notifier.templates t "
            "WHERE t.id = (SELECT template_id FROM notifier.notification_deliveries LIMIT 1)",
            (str(broken),),
        )
        admin.execute(
            "UPDATE notifier.notification_deliveries SET template_id = %s WHERE address LIKE 'ada%%'",
            (broken,),
        )
    for _ in range(10):
        due_now(database)
        for (dispatch,) in database.query("SELECT id FROM notifier.dispatches"):
            try:
                deliver.deliver(dispatch, worker(configured))
            except Exception:
                lapse(database)
    assert database.statuses() == {"sent": 1, "failed": 1}


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


def test_an_inbox_message_to_somebody_deleted_takes_no_other_with_it(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"], channel="inapp")
    with database.pool.begin() as writer:
        writer.exec_driver_sql("DELETE FROM notifier.recipients WHERE external_id = 'ada'")
    inbox = Worker(registry.choose({}), configured)
    run_due(database, inbox)
    assert database.one("SELECT count(*) FROM notifier.notifications") == 1
    assert database.statuses()["delivered"] >= 1


def test_a_provider_that_breaks_loses_no_outcome_it_had_told(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob", "eve"])
    told: list[uuid.UUID] = []

    def breaks(message: Message) -> Outcome:
        if len(told) == 2:
            raise RuntimeError("a fault of ours")
        told.append(message.delivery_id)
        return accept(message)

    with pytest.raises(RuntimeError):
        run_due(database, worker(configured, breaks))
    assert database.statuses() == {"sent": 2, "queued": 1}


def test_what_a_receipt_has_settled_is_not_sent_again(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"])

    def settled(message: Message) -> Outcome:
        if message.address.startswith("ada"):
            receipt(database, message.delivery_id)
        return RetryLater("503", "busy")

    run_due(database, worker(configured, settled))
    assert database.statuses() == {"sent": 1, "retrying": 1}
    carried = database.query("SELECT cardinality(delivery_ids) FROM notifier.dispatches")
    assert carried == [(1,)]
    due_now(database)
    provider = Scripted(accept)
    run_due(database, worker(configured, provider))
    assert [message.address for message in provider.given] == ["bob@example.com"]
    assert database.statuses() == {"sent": 2}


def receipt(database: Database, delivery: uuid.UUID) -> None:
    """A provider's word that came before the worker's own."""
    with database.pool.begin() as writer:
        receipts.apply(writer, [receipts.Receipt(delivery, Status.SENT, "scripted", attempt=1)])


def test_a_provider_that_breaks_when_asked_ends_in_doubt(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"], channel="sms")

    class Broken(Scripted):
        def look_up(self, messages):  # type: ignore[no-untyped-def]
            raise RuntimeError("a fault of ours")
            yield

    provider = Broken(lambda _: Unsure("timeout"))
    run_due(database, worker(configured, provider))
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    reconcile.reconcile(dispatch, worker(configured, provider))
    assert database.statuses() == {"sending": 1}, "asked again later"
    due_now(database)
    reconcile.reconcile(dispatch, worker(configured, provider, doubt_seconds=0))
    assert database.statuses() == {"unknown": 1}


class Windows(Scripted):
    """Takes its time for each message, and remembers how many it was given at a time."""

    at_once = 4

    def __init__(self, seconds: float) -> None:
        super().__init__(accept)
        self.seconds = seconds
        self.sizes: list[int] = []

    def send(
        self, messages: Sequence[Message], may_start: MayStart
    ) -> Iterator[tuple[Message, Outcome]]:
        self.sizes.append(len(messages))
        for pair in super().send(messages, may_start):
            time.sleep(self.seconds)
            yield pair


def twenty(connection: Connection, tenant: uuid.UUID) -> None:
    addresses = [{"channel": "email", "address": f"a{n}@example.com"} for n in range(20)]
    emit(connection, "task.due_soon", TASK, tenant=tenant, to={"addresses": addresses})
    connection.commit()


def test_a_provider_slower_than_a_flush_is_given_as_many_as_it_sends_at_once(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    twenty(connection, tenant)
    slow = Windows(0.02)
    run_due(database, worker(configured.model_copy(update={"flush_seconds": 0.01}), slow))
    assert slow.sizes == [20]
    twenty(connection, tenant)
    paced = worker(configured.model_copy(update={"flush_seconds": 0.01}), slow)
    paced.pace["scripted"] = 1.0
    run_due(database, paced)
    assert slow.sizes[1:] == [4] * 5
    assert database.statuses() == {"sent": 40}


def test_a_dispatch_has_its_time_and_no_more_within_a_window_too(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    twenty(connection, tenant)
    slow = Windows(0.05)
    began = time.monotonic()
    run_due(database, worker(configured, slow, chunk_seconds=0.2))
    assert time.monotonic() - began < 0.6
    assert 2 <= database.statuses()["sent"] <= 8
    handed_back = "SELECT attempts, lease_until, cardinality(delivery_ids) FROM notifier.dispatches"
    ((attempts, lease, left),) = database.query(handed_back)
    assert (attempts, lease, left) == (0, None, 20 - database.statuses()["sent"])
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 20}


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [(-5.0, 12, 15), (0.0, 12, 15), (60.0, 60, 66), (1e9, 3600, 3960)],
)
def test_what_a_provider_asks_for_is_waited_for_within_reason(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    asked: float,
    least: float,
    most: float,
) -> None:
    twenty(connection, tenant)
    wait = timedelta(seconds=asked)
    run_due(database, worker(configured, lambda _: RetryLater("429", "slow down", wait)))
    waits = [
        float(row[0])
        for row in database.query(
            "SELECT extract(epoch FROM due_at - created_at) FROM notifier.dispatches"
        )
    ]
    assert 1 < len(waits) <= STEPS, "spread, and in few dispatches"
    assert all(least - 0.1 <= each <= most + 0.1 for each in waits), waits
