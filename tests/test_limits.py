"""Rates of providers: what there is no room for is due later, in no worker's way."""

import uuid

import pytest
from sqlalchemy import Connection

from notifier import limits, queue
from notifier.errors import SettingError
from notifier.settings import Settings
from notifier.settings import settings as read_settings
from tests.conftest import Database, forget
from tests.engine import Scripted, accept, configured, due_now, run_due, sound, to_addresses, worker

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
    assert len(sender.given) == 4
    ((wait, left),) = waits(database)
    assert (0.5 < wait <= 1.0, left) == (True, 6)
    due_now(database)
    run_due(database, limited)
    assert len(sender.given) == 4, "no time has passed"
    clock[0] += 0.5
    due_now(database)
    run_due(database, limited)
    assert len(sender.given) == 6
    clock[0] += 60
    due_now(database)
    run_due(database, limited)
    assert len(sender.given) == 10, "a second's worth is saved up, no more"
    assert database.statuses() == {"sent": 10}
    assert {m.attempt for m in sender.given} == {1}, "to wait is no attempt"
    assert waits(database) == []


def test_workers_share_a_rate(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    senders = [Scripted(accept), Scripted(accept)]
    for sender in senders:
        to_addresses(connection, tenant, 3)
        run_due(database, worker(configured, sender, rates="scripted=4"))
    assert [len(sender.given) for sender in senders] == [3, 1]


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
