"""Workers that die, freeze or stop in the middle: what the next one finds and does."""

import uuid
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from notifier import deliver
from notifier.channels.contract import MayStart, Message, Outcomes
from notifier.outcome import Accepted, Outcome, RetryLater
from notifier.settings import Settings
from notifier.store import audience
from tests.conftest import Database
from tests.engine import (
    Died,
    Paused,
    Scripted,
    accept,
    configured,
    journal,
    lapse,
    run_due,
    run_for,
    sound,
    to,
    worker,
)

__all__ = ["configured", "sound"]


def test_a_published_twice_message_is_a_quiet_no_op(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    provider = Scripted(accept)
    for _ in range(3):
        deliver.deliver(dispatch, worker(configured, provider))
    assert len(provider.given) == 1


def test_what_a_dead_worker_had_sent_and_not_recorded_is_sent_again_under_the_same_id(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"])
    dispatch = database.one("SELECT id FROM notifier.dispatches")

    def dies(message: Message) -> Outcome:
        raise Died

    provider = Scripted(dies)
    with pytest.raises(Died):
        deliver.deliver(dispatch, worker(configured, provider))
    deliver.deliver(dispatch, worker(configured))
    assert database.statuses() == {"queued": 2}, "the lease still stands"
    lapse(database)
    second = Scripted(accept)
    while run_due(database, worker(configured, second)):
        pass
    assert database.statuses() == {"sent": 2}
    assert provider.given[0].delivery_id in {m.delivery_id for m in second.given}
    assert (
        database.one("SELECT min(claim) FROM notifier.delivery_journal WHERE to_status = 'sent'")
        >= 2
    )


def test_a_zombie_changes_no_status_and_its_fact_is_kept_as_late(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    other = Scripted(accept)

    def slow(message: Message) -> Outcome:
        lapse(database)
        deliver.deliver(dispatch, worker(configured, other))
        return Accepted("late-id", "250 late")

    deliver.deliver(dispatch, worker(configured, slow))
    assert database.statuses() == {"sent": 1}
    assert len(journal(database)) == 1
    rows = database.query(
        "SELECT provider_message_id, late FROM notifier.provider_messages ORDER BY late"
    )
    assert [row[1] for row in rows] == [False, True]
    assert rows[1][0] == "late-id"


def test_a_chunk_that_kills_its_worker_is_halved_until_the_poison_stands_alone(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    audience.upsert_recipients(
        connection,
        tenant,
        [
            {
                "external_id": f"r{i}",
                "contact_points": [{"channel": "email", "address": f"r{i}@example.com"}],
            }
            for i in range(40)
        ],
    )
    to(connection, tenant, [f"r{i}" for i in range(40)])

    def poisoned(message: Message) -> Outcome:
        if message.address == "r7@example.com":
            raise Died
        return accept(message)

    run_for(database, worker(configured, poisoned), rounds=60, falls=Died)
    assert database.statuses() == {"sent": 39, "failed": 1}
    assert database.query("SELECT code FROM notifier.dead_letters") == [("poison",)]


def test_a_worker_told_to_stop_finishes_its_send_and_hands_the_rest_back(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob", "eve"])
    stopping: list[bool] = []

    def last(message: Message) -> Outcome:
        stopping.append(True)
        return accept(message)

    leaving = worker(configured, last)
    leaving.stopping = lambda: bool(stopping)
    run_due(database, leaving)
    assert database.statuses() == {"sent": 1, "queued": 2}
    assert database.query("SELECT attempts, lease_until FROM notifier.dispatches") == [(0, None)]
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 3}


def test_a_stopped_sms_worker_takes_back_what_it_announced(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob", "eve"], channel="sms")
    stopping: list[bool] = []

    def last(message: Message) -> Outcome:
        stopping.append(True)
        return accept(message)

    leaving = worker(configured, last)
    leaving.stopping = lambda: bool(stopping)
    run_due(database, leaving)
    assert database.statuses() == {"sent": 1, "queued": 2}
    provider = Scripted(accept)
    run_due(database, worker(configured, provider))
    assert len(provider.given) == 2
    assert database.statuses() == {"sent": 3}


def test_after_its_lease_a_worker_writes_nothing_though_nobody_took_over(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    paused = Paused(deliver.deliver, database.one("SELECT id FROM notifier.dispatches"), configured)
    lapse(database)
    paused.answer(RetryLater("503", "busy"))
    assert database.statuses() == {"queued": 1}
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 1


def test_no_send_starts_that_its_lease_could_not_outlast(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    provider = Scripted(accept)
    provider.deadline = timedelta(seconds=40)  # the lease is 30
    run_due(database, worker(configured, provider))
    assert provider.given == []
    assert database.statuses() == {"queued": 1}


class Together(Scripted):
    """Has all messages under way when it tells of the first."""

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        yield from list(super().send(messages, may_start))


def test_all_that_was_under_way_when_a_claim_was_lost_is_told_late(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob", "eve"])

    def last_outlives_the_lease(message: Message) -> Outcome:
        if message.address.startswith("eve"):
            lapse(database)
        return accept(message)

    run_due(database, worker(configured, Together(last_outlives_the_lease), flush_seconds=0.0))
    assert database.statuses() == {"sent": 3}
    assert database.one("SELECT count(*) FROM notifier.provider_messages WHERE late") == 3
