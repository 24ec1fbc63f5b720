"""Several providers of a channel: who takes over, and what is never sent twice."""

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from notifier import breaker, queue, reconcile
from notifier.channels.contract import Message
from notifier.outcome import NotFound, Outcome, Rejected, RetryLater, Unsure
from notifier.settings import Settings
from notifier.store import routes
from notifier.words import Channel
from notifier.worker import Worker
from tests.conftest import Database
from tests.engine import (
    Died,
    accept,
    configured,
    due_now,
    journal,
    lapse,
    run_due,
    sound,
    to_addresses,
)
from tests.pair import Second, closed, fail, pair, pause, run_all

__all__ = ["closed", "configured", "sound"]


def sent_through(database: Database) -> dict[str, int]:
    rows = database.query(
        "SELECT provider, count(*) FROM notifier.notification_deliveries GROUP BY provider"
    )
    return {row[0]: row[1] for row in rows}


def test_a_failure_is_followed_by_the_other_provider_at_once(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    worker, first, second = pair(configured, fail)
    to_addresses(connection, tenant, 3)
    run_all(database, worker)
    assert database.statuses() == {"sent": 3}
    assert sent_through(database) == {"second": 3}
    assert (len(first.given), len(second.given)) == (3, 3)
    assert {m.attempt for m in second.given} == {2}, "it is the same delivery's next attempt"
    moves = [("queued", "retrying")] * 3 + [("retrying", "sent")] * 3
    assert journal(database) == moves


def test_when_all_have_had_their_turn_the_retry_policy_waits(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    worker, first, second = pair(configured, fail, fail)
    to_addresses(connection, tenant, 1)
    assert run_all(database, worker) == 2
    assert database.statuses() == {"retrying": 1}
    wait = database.one("SELECT extract(epoch FROM min(due_at) - now()) FROM notifier.dispatches")
    assert wait > 10
    due_now(database)
    run_all(database, worker)
    assert [len(first.given), len(second.given)] == [2, 2]


def test_what_may_have_gone_out_is_never_given_to_the_other(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    worker, first, second = pair(configured, lambda _: Unsure("no answer"))
    to_addresses(connection, tenant, 2)
    for _ in range(3):
        run_all(database, worker)
        due_now(database)
    assert len(first.given) > 2
    assert second.given == []


def test_a_rejected_one_is_not_tried_elsewhere(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    worker, _, second = pair(configured, lambda _: Rejected("550", "no such user"))
    to_addresses(connection, tenant, 2)
    run_all(database, worker)
    assert database.statuses() == {"failed": 2}
    assert second.given == []


def test_the_work_of_a_dead_worker_stays_with_its_provider(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """Though its breaker opens meanwhile: what it had in hand may have gone out."""

    def die(_: Message) -> Outcome:
        raise Died

    worker, first, second = pair(configured, die)
    to_addresses(connection, tenant, 4)
    with pytest.raises(Died):
        run_due(database, worker)
    lapse(database)
    breaker.note("first", 0, breaker.LEAST)
    worker, first, second = pair(configured, accept)
    run_due(database, worker)
    assert (first.given, second.given) == ([], []), "it waits for its provider"
    later = Worker(worker.providers, configured)
    queue.redis().delete("notifier.breaker.first")
    due_now(database)
    run_all(database, later)
    due_now(database)
    run_all(database, later)
    assert database.statuses() == {"sent": 4}
    assert (len(first.given), second.given) == (4, [])


def test_an_sms_that_never_arrived_may_go_through_the_other(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    worker, first, second = pair(configured, lambda _: Unsure("no answer"))
    to_addresses(connection, tenant, 1, "sms")
    run_due(database, worker)
    (dispatch,) = database.query("SELECT id FROM notifier.dispatches WHERE kind = 'reconcile'")
    reconcile.reconcile(dispatch.id, worker)
    run_all(database, worker)
    assert database.statuses() == {"sent": 1}
    assert (len(first.given), len(second.given)) == (1, 1)


def due_in(database: Database) -> float:
    """Seconds until the only dispatch is due."""
    return float(
        database.one(
            "SELECT extract(epoch FROM due_at - clock_timestamp()) FROM notifier.dispatches"
        )
    )


@pytest.mark.parametrize("other", ["not of the route", "paused"])
def test_only_a_provider_that_may_be_taken_makes_the_next_attempt_come_at_once(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    other: str,
) -> None:
    if other == "paused":
        pause(connection, provider="second")
    else:
        routes.replace(connection, tenant, Channel.EMAIL, [("first", 0, 1)])
    connection.commit()
    wait = timedelta(seconds=100)
    worker, first, second = pair(configured, lambda _: RetryLater("429", "slow down", wait))
    to_addresses(connection, tenant, 1)
    run_all(database, worker)
    assert (len(first.given), second.given) == (1, [])
    assert due_in(database) > 90


def test_a_doubt_is_not_put_to_a_provider_that_it_did_not_go_through(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """It would know nothing of it, and the message would go out again."""
    worker, _, _ = pair(configured, lambda _: Unsure("no answer"))
    to_addresses(connection, tenant, 1, "sms")
    run_due(database, worker)
    dispatch = database.one("SELECT id FROM notifier.dispatches WHERE kind = 'reconcile'")
    second = Second(accept, NotFound())
    for seconds, status in ((3600, "sending"), (0, "unknown")):
        settings = configured.model_copy(update={"doubt_seconds": seconds})
        left = Worker(dict.fromkeys(Channel, (second,)), settings)
        due_now(database)
        reconcile.reconcile(dispatch, left)
        run_all(database, left)
        assert database.statuses() == {status: 1}
    assert second.given == []
