"""Rates of providers: what there is no room for is due later, in no worker's way."""

import uuid
from itertools import pairwise

import pytest
from sqlalchemy import Connection

from notifier import limits, queue
from notifier.channels.contract import Message
from notifier.errors import SettingError
from notifier.outcome import Outcome
from notifier.settings import Settings
from notifier.settings import settings as read_settings
from notifier.store import dispatches
from notifier.words import Channel
from notifier.worker import Worker
from tests.conftest import Database, forget
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
    to_addresses,
    worker,
)

__all__ = ["configured", "sound"]


@pytest.fixture(autouse=True)
def clock(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that buckets fill by, and no bucket of another test."""
    assert database.redis_url
    for key in queue.redis().keys("notifier.limit.*"):
        queue.redis().delete(key)
    now = [1000.0]
    monkeypatch.setattr(limits, "_now", lambda: now[0])
    return now


def waits(database: Database) -> list[tuple[float, int]]:
    """In how many seconds how many deliveries are due."""
    rows = database.query(
        "SELECT round(extract(epoch FROM due_at - now()), 1), cardinality(delivery_ids) "
        "FROM notifier.dispatches ORDER BY due_at"
    )
    return [(float(row[0]), row[1]) for row in rows]


def test_a_rate_lets_through_what_it_has_room_for(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    clock: list[float],
) -> None:
    sender = Scripted(accept)
    limited = worker(configured, sender, rates="scripted=4")
    to_addresses(connection, tenant, 10)
    run_due(database, limited)
    assert len(sender.given) == 3, "one is left for what is critical"
    ((wait, left),) = waits(database)
    assert (0.4 < wait <= 0.8, left) == (True, 7)
    for seconds, expected in ((0, 3), (0.5, 5), (60, 8), (60, 10)):
        clock[0] += seconds
        due_now(database)
        run_due(database, limited)
        assert len(sender.given) == expected, "a second's worth is saved up, no more"
    assert database.statuses() == {"sent": 10}
    assert {m.attempt for m in sender.given} == {1}, "to wait is no attempt"
    assert waits(database) == []


def test_workers_share_a_rate(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    senders = [Scripted(accept), Scripted(accept)]
    for sender in senders:
        to_addresses(connection, tenant, 3)
        run_due(database, worker(configured, sender, rates="scripted=5"))
    assert [len(sender.given) for sender in senders] == [3, 1]


def test_those_who_wait_come_back_one_after_the_other(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    limited = worker(configured, rates="scripted=2")
    for _ in range(4):
        to_addresses(connection, tenant, 2)
        run_due(database, limited)
    times = [wait for wait, _ in waits(database)]
    assert len(times) == 4
    steps = [later - sooner for sooner, later in pairwise(times)]
    assert all(0.3 < step < 0.7 for step in steps), times


def test_what_is_critical_takes_the_last_one_and_stands_in_no_line(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    sender = Scripted(accept)
    limited = worker(configured, sender, rates="scripted=2")
    to_addresses(connection, tenant, 20)
    run_due(database, limited)
    assert len(sender.given) == 1
    to(connection, tenant, ["ada", "bob"], lane="critical")
    run_due(database, limited)
    assert len(sender.given) == 2
    critical = (
        "SELECT extract(epoch FROM due_at - now()) FROM notifier.dispatches WHERE lane = 'critical'"
    )
    assert database.one(critical) < 0.6


def test_what_may_have_gone_out_through_a_provider_stays_with_it_however_often_it_waits(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """Nor is it packed with what is free to go through any."""

    def die(_: Message) -> Outcome:
        raise Died

    class Other(Scripted):
        name = "other"

    dying, standing_by = Scripted(die), Other(accept)
    chain = Worker(dict.fromkeys(Channel, (dying, standing_by)), configured)
    to_addresses(connection, tenant, 1)
    with pytest.raises(Died):
        run_due(database, chain)
    lapse(database)
    limited = Worker(
        dict.fromkeys(Channel, (dying, standing_by)),
        configured.model_copy(update={"rates": "scripted=0.001"}),
    )
    limits.take("scripted", 0.001, 1, urgent=False)
    for _ in range(3):
        due_now(database)
        run_due(database, limited)
        to_addresses(connection, tenant, 1)
        due_now(database)
        with database.pool.begin() as writer:
            dispatches.pack(writer)
        bound = database.query(
            "SELECT provider FROM notifier.dispatches WHERE provider IS NOT NULL"
        )
        assert [row[0] for row in bound] == ["scripted"]
    assert standing_by.given == []


def test_a_rate_below_one_a_second(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    clock: list[float],
) -> None:
    sender = Scripted(accept)
    limited = worker(configured, sender, rates="scripted=0.1")
    to_addresses(connection, tenant, 2)
    for seconds, expected in ((0, 1), (9, 1), (1.1, 2)):
        clock[0] += seconds
        due_now(database)
        run_due(database, limited)
        assert len(sender.given) == expected


def test_another_provider_is_not_held_back(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to_addresses(connection, tenant, 10)
    run_due(database, worker(configured, rates="twilio=1"))
    assert database.statuses() == {"sent": 10}


def test_without_redis_nothing_is_held_back(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFIER_REDIS_URL", "redis://127.0.0.1:1/0")
    forget()
    to_addresses(connection, tenant, 10)
    run_due(database, worker(configured, rates="scripted=1"))
    assert database.statuses() == {"sent": 10}


@pytest.mark.parametrize("value", ["twilio", "twilio=", "twilio=x", "twilio=0", "=3", "twilio=-1"])
def test_a_wrong_rate_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("NOTIFIER_RATES", value)
    read_settings.cache_clear()
    with pytest.raises(SettingError, match="NOTIFIER_RATES: expected messages a second"):
        read_settings()
    read_settings.cache_clear()


def test_a_rate_for_nobody_is_named(configured: Settings) -> None:
    with pytest.raises(SettingError, match=r"NOTIFIER_RATES: expected providers out of .*'pigeon'"):
        worker(configured, rates="pigeon=1").check()
