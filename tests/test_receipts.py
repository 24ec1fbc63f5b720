"""What providers tell late, early, twice or in any order: the facts are kept, the truth wins."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from notifier import deliver, receipts, reconcile
from notifier.outcome import Accepted, NotFound, Rejected, RetryLater, Unsure
from notifier.receipts import Receipt
from notifier.replay import replay
from notifier.settings import Settings
from notifier.status import RECEIVED, Status
from notifier.store import dispatches
from tests.conftest import Database
from tests.engine import (
    Died,
    Paused,
    Scripted,
    accept,
    configured,
    due_now,
    journal,
    lapse,
    run_due,
    sound,
    to,
    to_addresses,
    worker,
)

__all__ = ["configured", "sound"]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def tell(database: Database, *words: Receipt) -> int:
    with database.pool.begin() as connection:
        return receipts.apply(connection, words)


def told(delivery: uuid.UUID, status: Status, **more: object) -> Receipt:
    """A word that says when its status was reached: an hour a rank after noon."""
    at = NOON + timedelta(hours=RECEIVED.index(status))
    return Receipt(delivery, status, "scripted", at, **more)  # type: ignore[arg-type]


def ids(database: Database) -> list[uuid.UUID]:
    return [
        row[0]
        for row in database.query("SELECT id FROM notifier.notification_deliveries ORDER BY id")
    ]


@pytest.mark.parametrize("start", ["queued", "failed", "bounced", "cancelled", "unknown", "sent"])
def test_receipts_in_any_order_and_five_times_leave_the_same_row(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    start: str,
) -> None:
    """Every set of three words, in every order, from every status our own attempt can end in."""
    sets = [words for size in (1, 2, 3) for words in itertools.combinations(RECEIVED, size)]
    orders = [order for words in sets for order in itertools.permutations(words)]
    with database.pool.begin() as writer:
        writer.exec_driver_sql(
            "INSERT INTO notifier.notification_deliveries "
            "(id, event_id, tenant_id, channel, locale, status, sent_at) "
            "SELECT notifier.new_id(), %s, %s, 'email', 'en', %s, %s FROM generate_series(1, %s)",
            (uuid.uuid4(), tenant, start, NOON if start == "sent" else None, len(orders)),
        )
    chosen = dict(zip(ids(database), orders, strict=True))
    for place in range(3):
        for _ in range(5):
            tell(
                database,
                *(told(d, order[place]) for d, order in chosen.items() if place < len(order)),
            )
    columns = "status, sent_at, delivered_at, opened_at, clicked_at"
    ends: dict[frozenset[Status], set[tuple[object, ...]]] = {}
    for row in database.query(f"SELECT id, {columns} FROM notifier.notification_deliveries"):
        ends.setdefault(frozenset(chosen[row[0]]), set()).add(tuple(row[1:]))
    for words, rows in ends.items():
        assert len(rows) == 1, (words, rows)
        status, sent_at, *_ = next(iter(rows))
        strongest = max(words, key=RECEIVED.index)
        assert status == (start if strongest is Status.SENT and start == "sent" else strongest)
        assert sent_at is not None
    moves = database.query(
        "SELECT delivery_id, to_status, count(*) FROM notifier.delivery_journal "
        "GROUP BY 1, 2 HAVING count(*) > 1"
    )
    assert moves == []
    with database.pool.begin() as writer:
        writer.exec_driver_sql("DELETE FROM notifier.notification_deliveries")
        writer.exec_driver_sql("DELETE FROM notifier.dead_letters")


def test_a_refused_delivery_and_one_that_is_not_ours_are_left_alone(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"], expires_at=datetime.now(UTC) - timedelta(seconds=1))
    (refused,) = ids(database)
    assert tell(database, told(refused, Status.SENT), told(uuid.uuid4(), Status.SENT)) == 0
    assert database.statuses() == {"refused": 1}
    with pytest.raises(ValueError, match="no receipt tells sending"):
        tell(database, Receipt(refused, Status.SENDING, "scripted"))


def test_what_a_frozen_worker_had_sent_is_not_sent_again_where_it_tells_in_time(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob", "eve"])
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    frozen = Paused(deliver.deliver, dispatch, configured)
    lapse(database)
    # The second worker has the first half; the other half waits in a dispatch of its own.
    second = Paused(deliver.deliver, dispatch, configured, window=1)
    while frozen.at:
        frozen.answer(accept(frozen.at))
    assert database.statuses() == {"sent": 3}, "what it was told is applied"
    assert database.one("SELECT count(*) FROM notifier.provider_messages WHERE late") == 3
    assert second.at is not None
    second.answer(RetryLater("503", "busy"))
    assert len(second.calls) == 1
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 3}
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0
    assert journal(database) == [("queued", "sent")] * 3


def test_what_a_frozen_worker_was_told_is_not_sent_in_the_next_window(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to_addresses(connection, tenant, 4)
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    frozen = Paused(deliver.deliver, dispatch, configured)
    lapse(database)
    second = Paused(deliver.deliver, dispatch, configured, window=1)
    while frozen.at:
        frozen.answer(accept(frozen.at))
    assert second.at is not None
    second.answer(accept(second.at))
    assert second.at is None
    assert len(second.calls) == 1
    assert database.statuses() == {"sent": 4}
    run_due(database, worker(configured))


def test_a_frozen_call_that_tells_late_is_settled_and_not_asked_about(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"], channel="sms")
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    frozen = Paused(deliver.deliver, dispatch, configured)
    lapse(database)
    run_due(database, worker(configured))
    assert database.query("SELECT kind FROM notifier.dispatches") == [("reconcile",)]
    while frozen.at:
        frozen.answer(accept(frozen.at))
    assert database.statuses() == {"sent": 2}
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


def test_a_rejection_told_late_settles_nothing(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    frozen = Paused(deliver.deliver, dispatch, configured)
    lapse(database)
    second = Paused(deliver.deliver, dispatch, configured)
    frozen.answer(Rejected("550", "no such mailbox", address_dead=True))
    assert database.statuses() == {"queued": 1}
    assert second.at is not None
    second.answer(accept(second.at))
    assert database.statuses() == {"sent": 1}


def test_a_receipt_takes_its_delivery_off_the_retry_that_was_planned(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"])
    run_due(database, worker(configured, lambda _: RetryLater("503", "busy")))
    first, second = ids(database)
    tell(database, told(first, Status.DELIVERED))
    assert database.query("SELECT delivery_ids FROM notifier.dispatches") == [([second],)]
    tell(database, told(second, Status.SENT))
    assert database.query("SELECT delivery_ids FROM notifier.dispatches") == []
    assert database.statuses() == {"delivered": 1, "sent": 1}


def test_a_stopping_worker_hands_back_only_what_no_receipt_has_finished(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob", "eve"])
    paused = Paused(deliver.deliver, database.one("SELECT id FROM notifier.dispatches"), configured)
    assert paused.at is not None
    now, *rest = database.one("SELECT delivery_ids FROM notifier.dispatches")
    assert now == paused.at.delivery_id
    tell(database, told(rest[0], Status.SENT))
    paused.leaving = True
    paused.answer(accept(paused.at))
    assert database.query("SELECT delivery_ids, token FROM notifier.dispatches") == [
        ([rest[1]], None)
    ]


def test_a_call_whose_receipt_comes_while_it_is_announced_is_not_made(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"], channel="sms")
    paused = Paused(
        deliver.deliver, database.one("SELECT id FROM notifier.dispatches"), configured, window=1
    )
    assert paused.at is not None
    (other,) = set(ids(database)) - {paused.at.delivery_id}
    tell(database, told(other, Status.DELIVERED))
    paused.answer(accept(paused.at))
    assert len(paused.calls) == 1
    assert database.statuses() == {"sent": 1, "delivered": 1}
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


def test_a_question_whose_answer_came_as_a_receipt_is_not_asked_again(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"], channel="sms")
    run_due(database, worker(configured, lambda _: Unsure("timeout")))
    (delivery,) = ids(database)
    asking = Paused(
        reconcile.reconcile, database.one("SELECT id FROM notifier.dispatches"), configured
    )
    tell(database, told(delivery, Status.DELIVERED))
    asking.answer(Unsure("busy"))
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


def test_what_turns_out_sent_is_neither_in_doubt_nor_a_dead_letter(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    hasty = configured.model_copy(update={"retry_delays": "0"})
    to(connection, tenant, ["ada", "bob"])
    doubtful, failing = ids(database)

    def say(message):  # type: ignore[no-untyped-def]
        return Unsure("timeout") if message.delivery_id == doubtful else RetryLater("503", "busy")

    for _ in range(2):
        run_due(database, worker(hasty, say))
    assert database.statuses() == {"unknown": 1, "failed": 1}
    tell(database, told(doubtful, Status.SENT), told(failing, Status.SENT))
    assert database.statuses() == {"sent": 2}
    assert database.one("SELECT count(*) FROM notifier.in_doubt") == 0
    assert database.one("SELECT count(*) FROM notifier.dead_letters") == 0


def test_a_failure_told_late_is_a_dead_letter_and_a_bounce_retires_its_address(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"])
    run_due(database, worker(configured))
    first, second = ids(database)
    tell(
        database,
        told(first, Status.FAILED, code="30003", detail="unreachable"),
        told(second, Status.BOUNCED, detail="5.1.1"),
    )
    assert database.query("SELECT delivery_id, code FROM notifier.dead_letters") == [
        (first, "30003")
    ]
    assert database.one("SELECT count(*) FROM notifier.suppressions") == 1
    assert replay() == 1
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 1, "bounced": 1}


def test_a_dead_letter_in_a_workers_hand_is_replayed_once_it_has_left_it(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"])
    paused = Paused(deliver.deliver, database.one("SELECT id FROM notifier.dispatches"), configured)
    assert paused.at is not None
    tell(database, told(paused.at.delivery_id, Status.FAILED))
    assert replay() == 0
    while paused.at:
        paused.answer(Rejected("554", "refused"))
    assert replay() == 2


def test_a_receipt_after_a_worker_died_settles_what_it_had_in_hand(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"])

    def dies(message):  # type: ignore[no-untyped-def]
        raise Died

    with pytest.raises(Died):
        run_due(database, worker(configured, dies))
    for delivery in ids(database):
        tell(database, told(delivery, Status.SENT))
    lapse(database)
    provider = Scripted(accept, NotFound())
    run_due(database, worker(configured, provider))
    assert provider.given == []
    assert database.statuses() == {"sent": 2}
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


def test_the_providers_id_is_kept_once_whatever_the_status_is(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    run_due(database, worker(configured, lambda _: Accepted()))
    (delivery,) = ids(database)
    due_now(database)
    for _ in range(5):
        tell(
            database,
            told(delivery, Status.OPENED),
            told(delivery, Status.SENT, provider_message_id="SM1", attempt=1, detail="sent"),
        )
    assert database.statuses() == {"opened": 1}
    assert database.query("SELECT provider_message_id FROM notifier.provider_messages") == [
        ("SM1",)
    ]


def test_a_receipt_finds_what_is_put_on_another_dispatch_at_that_moment(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to(connection, tenant, ["ada"])
    looked, look = [], dispatches.lock_carriers

    def looks_too_early(*arguments: Any) -> list[dispatches.Carrier]:
        looked.append(1)
        return look(*arguments) if len(looked) > 1 else []

    monkeypatch.setattr(dispatches, "lock_carriers", looks_too_early)
    assert tell(database, told(ids(database)[0], Status.SENT)) == 1
    assert len(looked) == 2
    assert journal(database) == [("queued", "sent")]
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


def test_late_facts_outlive_a_lost_connection(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to(connection, tenant, ["ada"])
    paused = Paused(deliver.deliver, database.one("SELECT id FROM notifier.dispatches"), configured)
    lapse(database)
    apply, faults = receipts.apply, [1]

    def fails_once(*arguments: Any, **named: Any) -> int:
        if faults:
            faults.pop()
            raise OperationalError("COMMIT", None, psycopg.OperationalError("connection lost"))
        return apply(*arguments, **named)

    monkeypatch.setattr(receipts, "apply", fails_once)
    assert paused.at is not None
    paused.answer(accept(paused.at))
    assert database.statuses() == {"sent": 1}


def test_a_complaint_suppresses_the_address_and_leaves_it_alive(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    run_due(database, worker(configured))
    (delivery,) = ids(database)
    assert tell(database, told(delivery, Status.COMPLAINED)) == 1
    (row,) = database.query("SELECT tenant_id, channel, reason FROM notifier.suppressions")
    assert tuple(row) == (tenant, "email", "complained")
    assert (
        database.one("SELECT count(*) FROM notifier.contact_points WHERE dead_at IS NOT NULL") == 0
    )
