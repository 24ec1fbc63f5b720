"""Escalation: who is asked next, whom that leaves out, and what an acknowledgement stops."""

import threading
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Connection

from notifier import acknowledge, callbacks, emit, fanout, receipts, register
from notifier.channels.contract import Acknowledged
from notifier.errors import InvalidOption, InvalidValue, NotFoundError
from notifier.outcome import RetryLater
from notifier.receipts import Receipt
from notifier.settings import Settings
from notifier.status import Status
from notifier.store import audience, dispatches
from notifier.worker import Worker
from tests.conftest import Database, forget
from tests.engine import Scripted, configured, due_now, run_due, sound, worker
from tests.test_emit import TASK

__all__ = ["configured", "sound"]

LADDER = [
    {"after": 300, "channels": ["sms"]},
    {"after": 600, "channels": ["voice"]},
]


@pytest.fixture
def on_call(connection: Connection, tenant: uuid.UUID) -> uuid.UUID:
    """The tenant, whose ada has a telephone, too."""
    audience.upsert_recipients(
        connection,
        tenant,
        [
            {
                "external_id": "ada",
                "contact_points": [{"channel": "voice", "address": "+14155550100"}],
            }
        ],
    )
    connection.commit()
    return tenant


def emit_to(
    connection: Connection, tenant: uuid.UUID, names: Sequence[str] = ("ada",), **options: Any
) -> uuid.UUID:
    event = emit(
        connection,
        "task.due_soon",
        TASK,
        tenant=tenant,
        to={"recipients": list(names), "channels": ["email"]},
        **{"escalation": LADDER, **options},
    )
    connection.commit()
    return event.id


def climb(database: Database, with_worker: Worker) -> None:
    """Let time pass until the next step, and take it and what it sends."""
    due_now(database)
    for (dispatch,) in database.query("SELECT id FROM notifier.dispatches WHERE kind = 'fan_out'"):
        fanout.fan_out(dispatch, with_worker)
    run_due(database, with_worker)


def ladder(database: Database) -> list[tuple[int, str, str, str]]:
    """Step, recipient, channel and status of every delivery."""
    rows = database.query(
        "SELECT d.step, r.external_id, d.channel, d.status "
        "FROM notifier.notification_deliveries d JOIN notifier.recipients r ON r.id = d.recipient_id "
        "ORDER BY 1, 2, 3"
    )
    return [tuple(row) for row in rows]


def to_come(database: Database) -> list[tuple[int, int]]:
    """Of what is still to be asked: the step, and in how many seconds."""
    rows = database.query(
        "SELECT step, round(extract(epoch FROM due_at - now()) / 10) * 10 "
        "FROM notifier.dispatches WHERE kind = 'fan_out'"
    )
    return [(row[0], int(row[1])) for row in rows]


def only_delivery(database: Database, step: int = 0) -> uuid.UUID:
    return uuid.UUID(
        str(database.one("SELECT id FROM notifier.notification_deliveries WHERE step = %s", step))
    )


def test_each_step_follows_until_the_last(
    database: Database, connection: Connection, on_call: uuid.UUID, configured: Settings
) -> None:
    emit_to(connection, on_call)
    sender = worker(configured)
    run_due(database, sender)
    assert ladder(database) == [(0, "ada", "email", "sent")]
    assert to_come(database) == [(1, 300)]
    climb(database, sender)
    assert ladder(database)[1:] == [(1, "ada", "sms", "sent")]
    assert to_come(database) == [(2, 600)]
    climb(database, sender)
    assert ladder(database)[2:] == [(2, "ada", "voice", "sent")]
    assert to_come(database) == []


def test_whoever_lacks_an_address_for_a_step_is_told_so_on_its_row(
    database: Database, connection: Connection, on_call: uuid.UUID, configured: Settings
) -> None:
    emit_to(connection, on_call, ["bob"])
    for _ in range(3):
        climb(database, worker(configured))
    assert ladder(database)[2] == (2, "bob", "voice", "refused")
    reason = "SELECT reason FROM notifier.notification_deliveries WHERE step = 2"
    assert database.one(reason) == "no_address"


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_step_that_is_walked_again_asks_nobody_twice(
    database: Database,
    connection: Connection,
    on_call: uuid.UUID,
    configured: Settings,
    repeats: int,
) -> None:
    emit_to(connection, on_call, ["ada", "bob", "eve"])
    due_now(database)
    dispatch = database.one("SELECT id FROM notifier.dispatches WHERE kind = 'fan_out'")
    with database.pool.connect() as writer:
        for _ in range(repeats):
            writer.exec_driver_sql(
                "SELECT p.* FROM notifier.notification_events e, "
                "notifier.fan_out_page(e, 1, '00000000-0000-0000-0000-000000000000', 100) p"
            )
        assert (
            writer.exec_driver_sql(
                "SELECT count(*) FROM notifier.notification_deliveries WHERE step = 1"
            ).scalar_one()
            == 3
        )
        writer.rollback()
    fanout.fan_out(dispatch, worker(configured))
    assert [row[0] for row in ladder(database)] == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("unless", "reached"),
    [
        ("delivered", Status.DELIVERED),
        ("delivered", Status.OPENED),
        ("seen", Status.OPENED),
        ("seen", Status.CLICKED),
    ],
)
def test_a_step_leaves_out_whom_an_earlier_one_reached(
    database: Database,
    connection: Connection,
    on_call: uuid.UUID,
    configured: Settings,
    unless: str,
    reached: Status,
) -> None:
    escalation = [{"after": 60, "channels": ["sms"], "unless": unless}]
    emit_to(connection, on_call, ["ada", "bob"], escalation=escalation)
    sender = worker(configured)
    run_due(database, sender)
    delivery = database.one(
        "SELECT d.id FROM notifier.notification_deliveries d "
        "JOIN notifier.recipients r ON r.id = d.recipient_id WHERE r.external_id = 'ada'"
    )
    with database.pool.begin() as writer:
        receipts.apply(writer, [Receipt(delivery, reached, "scripted")])
    climb(database, sender)
    assert [row[1:3] for row in ladder(database) if row[0] == 1] == [("bob", "sms")]


@pytest.mark.parametrize("unless", ["seen", "acknowledged"])
def test_what_does_not_count_as_reached_is_asked_again(
    database: Database,
    connection: Connection,
    on_call: uuid.UUID,
    configured: Settings,
    unless: str,
) -> None:
    escalation = [{"after": 60, "channels": ["sms"], "unless": unless}]
    emit_to(connection, on_call, escalation=escalation)
    sender = worker(configured)
    run_due(database, sender)
    with database.pool.begin() as writer:
        receipts.apply(writer, [Receipt(only_delivery(database), Status.DELIVERED, "scripted")])
    climb(database, sender)
    assert [row[2] for row in ladder(database)] == ["email", "sms"]


def test_an_acknowledgement_ends_the_escalation(
    database: Database, connection: Connection, on_call: uuid.UUID, configured: Settings
) -> None:
    event = emit_to(connection, on_call)
    sender = worker(configured)
    run_due(database, sender)
    climb(database, sender)
    done = acknowledge(delivery=only_delivery(database, step=1), how="test")
    assert (done.event_id, done.is_first, done.stopped) == (event, True, 0)
    assert to_come(database) == []
    climb(database, sender)
    assert [row[0] for row in ladder(database)] == [0, 1]
    again = acknowledge(event=event, how="somebody else")
    assert (again.is_first, again.stopped) == (False, 0)
    (row,) = database.query("SELECT event_id, delivery_id, how FROM notifier.acknowledgements")
    assert tuple(row) == (event, only_delivery(database, step=1), "test")


def test_an_acknowledgement_stops_what_was_not_sent(
    database: Database, connection: Connection, on_call: uuid.UUID, configured: Settings
) -> None:
    event = emit_to(connection, on_call, ["ada", "bob"])
    assert acknowledge(event=event, how="test").stopped == 2
    assert database.statuses() == {"cancelled": 2}
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


def test_an_acknowledgement_stops_a_retry(
    database: Database, connection: Connection, on_call: uuid.UUID, configured: Settings
) -> None:
    event = emit_to(connection, on_call)
    sender = Scripted(lambda _: RetryLater("451", "greylisted"))
    run_due(database, worker(configured, sender))
    assert database.statuses() == {"retrying": 1}
    assert acknowledge(event=event, how="test").stopped == 1
    due_now(database)
    run_due(database, worker(configured, sender))
    assert len(sender.given) == 1


def test_a_step_that_a_worker_holds_meanwhile_asks_nobody(
    database: Database, connection: Connection, on_call: uuid.UUID, configured: Settings
) -> None:
    event = emit_to(connection, on_call)
    run_due(database, worker(configured))
    due_now(database)
    dispatch = database.one("SELECT id FROM notifier.dispatches WHERE kind = 'fan_out'")
    with database.pool.begin() as writer:
        held = dispatches.claim(writer, dispatch, configured.lease)
    assert held is not None
    acknowledge(event=event, how="test")
    with database.pool.begin() as writer:
        row = writer.exec_driver_sql(
            "SELECT done, pairs FROM notifier.fan_out_step(%s, %s, %s, %s)",
            (held.id, held.token, configured.lease, 100),
        ).one()
    assert tuple(row) == (True, 0)
    assert [row[0] for row in ladder(database)] == [0]
    assert to_come(database) == []


def test_of_many_acknowledgements_one_is_the_first(
    database: Database, connection: Connection, on_call: uuid.UUID, configured: Settings
) -> None:
    event = emit_to(connection, on_call)
    firsts: list[bool] = []
    ready = threading.Barrier(5)

    def say() -> None:
        ready.wait(10)
        firsts.append(acknowledge(event=event, how="test").is_first)

    threads = [threading.Thread(target=say) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(firsts) == [False] * 4 + [True]


def test_a_key_pressed_acknowledges(
    database: Database, connection: Connection, on_call: uuid.UUID, configured: Settings
) -> None:
    emit_to(connection, on_call)
    run_due(database, worker(configured))
    delivery = only_delivery(database)
    with database.pool.begin() as writer:
        callbacks.keep(writer, "scripted", [Acknowledged(delivery, "keypress")])
    (dispatch,) = database.query("SELECT id FROM notifier.dispatches WHERE kind = 'receive'")
    callbacks.receive(dispatch[0], worker(configured))
    (row,) = database.query("SELECT delivery_id, how FROM notifier.acknowledgements")
    assert tuple(row) == (delivery, "keypress")
    assert database.statuses() == {"opened": 1}
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


def test_an_event_without_escalation_asks_for_no_acknowledgement(
    database: Database, connection: Connection, on_call: uuid.UUID, configured: Settings
) -> None:
    event = emit_to(connection, on_call, escalation=[])
    with pytest.raises(NotFoundError, match=r"event: expected .* has an escalation"):
        acknowledge(event=event, how="test")
    with pytest.raises(NotFoundError, match=r"delivery: expected"):
        acknowledge(delivery=only_delivery(database), how="test")
    assert database.statuses() == {"queued": 1}
    sender = Scripted(lambda _: RetryLater("451", "greylisted"))
    run_due(database, worker(configured, sender))
    assert sender.given[0].acknowledge_url is None


def test_an_event_of_another_tenant_can_not_be_acknowledged(
    database: Database, connection: Connection, on_call: uuid.UUID, configured: Settings
) -> None:
    event = emit_to(connection, on_call)
    other = audience.create_tenant(connection, "other")
    connection.commit()
    for what in ({"event": event}, {"delivery": only_delivery(database)}):
        with pytest.raises(NotFoundError):
            acknowledge(**what, tenant=other, how="test")
    assert database.one("SELECT count(*) FROM notifier.acknowledgements") == 0
    assert database.statuses() == {"queued": 1}


def test_a_scheduled_event_escalates_from_its_time_on(
    database: Database, connection: Connection, on_call: uuid.UUID, configured: Settings
) -> None:
    emit_to(connection, on_call, scheduled_for=datetime.now(UTC) + timedelta(hours=1))
    assert to_come(database) == [(0, 3600)]
    sender = worker(configured)
    climb(database, sender)
    assert ladder(database) == [(0, "ada", "email", "sent")]
    assert to_come(database) == [(1, 300)]
    fanned_out = "SELECT fanned_out_at FROM notifier.notification_events"
    first = database.one(fanned_out)
    climb(database, sender)
    assert database.one(fanned_out) == first
    assert to_come(database) == [(2, 600)]


def test_the_event_types_own_escalation_is_taken_unless_the_emit_has_one(
    database: Database, connection: Connection, on_call: uuid.UUID, configured: Settings
) -> None:
    with database.pool.begin() as writer:
        register.event_type(
            writer,
            "alarm.raised",
            schema={"type": "object"},
            channels=["email"],
            escalation=LADDER[:1],
            example={},
            texts={"short": {"text": "x"}, "email": {"subject": "s", "text": "x"}},
        )
    for given, expected in (
        ({}, [(1, 300)]),
        ({"escalation": [{"after": 60, "channels": ["sms"]}]}, [(1, 60)]),
        ({"escalation": []}, []),
    ):
        event = emit(
            connection,
            "alarm.raised",
            {},
            tenant=on_call,
            to={"recipients": ["ada"]},
            **given,
        )
        connection.commit()
        assert to_come(database) == expected
        if expected:
            acknowledge(event=event.id, how="test")


WRONG: list[tuple[Any, str]] = [
    ({"after": 1}, "escalation"),
    ([{"after": 60}], r"escalation\[0\]"),
    (["sms"], r"escalation\[0\]"),
    ([{"after": 60, "channels": ["sms"], "until": 5}], r"escalation\[0\]"),
    ([{"after": 0, "channels": ["sms"]}], r"escalation\[0\]\.after"),
    ([{"after": "60", "channels": ["sms"]}], r"escalation\[0\]\.after"),
    ([{"after": 1.5, "channels": ["sms"]}], r"escalation\[0\]\.after"),
    ([{"after": 604801, "channels": ["sms"]}], r"escalation\[0\]\.after"),
    ([{"after": 10**30, "channels": ["sms"]}], r"escalation\[0\]\.after"),
    ([LADDER[0], {"after": 60, "channels": []}], r"escalation\[1\]\.channels"),
    ([{"after": 60, "channels": "sms"}], r"escalation\[0\]\.channels"),
    ([{"after": 60, "channels": ["fax"]}], r"escalation\[0\]\.channels"),
    ([{"after": 60, "channels": [7]}], r"escalation\[0\]\.channels"),
    ([{"after": 60, "channels": ["sms"], "unless": "read"}], r"escalation\[0\]\.unless"),
    ([{"after": 60, "channels": ["sms"], "unless": None}], r"escalation\[0\]\.unless"),
    ([LADDER[0]] * 11, "escalation: expected a list of at most 10"),
    ("sms", "escalation"),
]


@pytest.mark.parametrize(("escalation", "field"), WRONG)
def test_what_is_wrong_with_an_escalation_is_named(
    database: Database, connection: Connection, tenant: uuid.UUID, escalation: Any, field: str
) -> None:
    with pytest.raises(InvalidOption, match=field):
        emit_to(connection, tenant, escalation=escalation)
    connection.rollback()
    assert database.one("SELECT count(*) FROM notifier.notification_events") == 0
    if isinstance(escalation, list) and all(isinstance(step, dict) for step in escalation):
        with pytest.raises(InvalidValue, match=field), database.pool.begin() as writer:
            register.event_type(
                writer,
                "alarm.raised",
                schema={"type": "object"},
                channels=[],
                escalation=escalation,
            )


def test_every_message_has_its_own_link_and_says_the_same_when_it_is_sent_again(
    database: Database,
    connection: Connection,
    on_call: uuid.UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFIER_SECRET_KEYS", Fernet.generate_key().decode())
    monkeypatch.setenv("NOTIFIER_PUBLIC_URL", "https://notify.example.org")
    forget()
    from notifier.settings import settings

    emit_to(connection, on_call, ["ada", "bob"])
    sender = Scripted(lambda _: RetryLater("451", "greylisted"))
    run_due(database, worker(settings(), sender))
    due_now(database)
    run_due(database, worker(settings(), sender))
    links = [message.acknowledge_url for message in sender.given]
    assert len(links) == 4
    assert len(set(links)) == 2
    assert all(link and link.startswith("https://notify.example.org/a/") for link in links)
    kept = database.query("SELECT hash, expires_at FROM notifier.magic_links")
    assert len(kept) == 2
    for hash, expires_at in kept:
        assert len(hash) == 32
        assert timedelta(days=6) < expires_at - datetime.now(UTC) < timedelta(days=8)
    tokens = [str(link).rpartition("/")[2] for link in links]
    dump = str(database.query("SELECT * FROM notifier.magic_links"))
    assert not any(token in dump for token in tokens)
