"""Cancels and deadlines: what has not been sent never is."""

import time
import uuid
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from notifier import cancel, deliver
from notifier.channels.contract import Message
from notifier.outcome import Outcome
from notifier.settings import Settings
from notifier.store import dispatches
from tests.conftest import Database
from tests.engine import Paused, Scripted, accept, configured, lapse, run_due, sound, to, worker

__all__ = ["configured", "sound"]


def test_a_cancelled_event_stops_what_was_not_sent_and_says_so(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    first = to(connection, tenant, ["ada"])
    run_due(database, worker(configured))
    answer = cancel(event=first)
    assert (answer.stopped, answer.in_flight, answer.sent) == (0, 0, 1)
    second = to(connection, tenant, ["ada", "bob"])
    answer = cancel(event=second, actor="ops")
    assert (answer.stopped, answer.in_flight, answer.sent) == (2, 0, 0)
    assert run_due(database, worker(configured)) == 0
    assert database.statuses() == {"sent": 1, "cancelled": 2}


def test_a_cancel_while_a_worker_holds_the_chunk_stops_its_next_window(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    event = to(connection, tenant, ["ada", "bob", "eve"])
    answers = []

    def cancels(message: Message) -> Outcome:
        answers.append(cancel(event=event))
        return accept(message)

    busy = worker(configured, cancels)
    busy.pace["scripted"] = 0.1  # one send a window
    run_due(database, busy)
    assert database.statuses() == {"sent": 1, "cancelled": 2}
    assert (answers[0].stopped, answers[0].in_flight) == (0, 3)


def test_one_delivery_can_be_cancelled_out_of_a_packed_dispatch(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    for name in ("ada", "bob", "eve"):
        to(connection, tenant, [name])
    with database.pool.begin() as writer:
        assert dispatches.pack(writer) == 1
    chosen = database.one(
        "SELECT d.id FROM notifier.notification_deliveries d JOIN notifier.recipients r ON r.id = recipient_id WHERE external_id = 'bob'"
    )
    assert cancel(delivery=chosen).stopped == 1
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 2, "cancelled": 1}


def test_nothing_is_sent_after_its_deadline(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"], expires_at=datetime.now(UTC) - timedelta(seconds=1))
    to(connection, tenant, ["bob"], expires_at=datetime.now(UTC) + timedelta(seconds=0.3))
    time.sleep(0.4)
    provider = Scripted(accept)
    run_due(database, worker(configured, provider))
    assert database.statuses() == {"refused": 1, "expired": 1}
    assert provider.given == []


def test_a_call_that_may_have_been_made_is_not_cancelled(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    event = to(connection, tenant, ["ada", "bob"], channel="sms")
    paused = Paused(
        deliver.deliver, database.one("SELECT id FROM notifier.dispatches"), configured, window=1
    )
    paused.dies()
    lapse(database)
    answer = cancel(event=event)
    assert (answer.stopped, answer.in_flight) == (1, 1)
    assert database.statuses() == {"sending": 1, "cancelled": 1}
    assert database.query("SELECT cardinality(delivery_ids) FROM notifier.dispatches") == [(1,)]
