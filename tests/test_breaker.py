"""Breakers: who keeps failing rests, is tried by one, and is taken back."""

import time
import uuid

import pytest
from sqlalchemy import Connection

from notifier import breaker
from notifier.breaker import Breakers, State
from notifier.outcome import RetryLater
from notifier.settings import Settings
from notifier.words import Channel
from notifier.worker import Worker
from tests.conftest import Database, forget
from tests.engine import accept, configured, sound, to_addresses
from tests.pair import First, closed, fail, pair, run_all

__all__ = ["closed", "configured", "sound"]


def test_a_provider_that_keeps_failing_is_left_alone_tried_again_and_taken_back(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    works = False
    worker, first, second = pair(configured, lambda m: accept(m) if works else fail(m))
    worker.breakers = Fresh()
    clock = Clock(monkeypatch)
    to_addresses(connection, tenant, 10)
    run_all(database, worker)
    assert len(first.given) == 10
    assert database.one("SELECT kind FROM notifier.admin_system_events") == "breaker_opened"

    to_addresses(connection, tenant, 10)
    run_all(database, worker)
    assert len(first.given) == 10, "its breaker is open"
    assert len(second.given) == 20
    assert database.statuses() == {"sent": 20}

    # One is let through, fails and goes on through the other; then it rests for longer.
    clock.pass_by(breaker.FIRST_REST + 1)
    to_addresses(connection, tenant, 10)
    run_all(database, worker)
    assert (len(first.given), len(second.given)) == (11, 30)
    clock.pass_by(breaker.FIRST_REST + 1)
    to_addresses(connection, tenant, 10)
    run_all(database, worker)
    assert len(first.given) == 11

    works = True
    clock.pass_by(breaker.FIRST_REST + 1)
    to_addresses(connection, tenant, 10)
    run_all(database, worker)
    assert len(first.given) == 21, "one showed that it works, and it has its place again"
    to_addresses(connection, tenant, 10)
    run_all(database, worker)
    assert len(first.given) == 31
    assert database.statuses() == {"sent": 60}
    kinds = database.query("SELECT kind FROM notifier.admin_system_events ORDER BY id")
    assert [row[0] for row in kinds] == ["breaker_opened", "breaker_opened", "breaker_closed"]


class Fresh(Breakers):
    """Believes nothing it has read before."""

    def state(self, provider: str) -> State:
        self._read.clear()
        return super().state(provider)


class Clock:
    """The breakers' clock, put forward by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        monkeypatch.setattr(breaker, "_now", lambda: time.time() + self._ahead)

    def pass_by(self, seconds: float) -> None:
        self._ahead += seconds


def test_a_few_failures_among_many_open_nothing(database: Database) -> None:
    assert breaker.note("first", 100, 20) == ""
    assert breaker.note("first", 0, breaker.LEAST - 1) == ""
    assert breaker.ask("first") is State.CLOSED
    assert breaker.note("second", 0, breaker.LEAST - 1) == ""
    assert breaker.note("second", 0, 1) == "opened", "told once, to whoever opened it"
    assert breaker.note("second", 0, 1) == ""
    assert breaker.ask("second") is State.OPEN


def test_one_worker_alone_has_the_trial(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    breaker.note("first", 0, breaker.LEAST)
    clock.pass_by(breaker.FIRST_REST + 1)
    assert [breaker.ask("first") for _ in range(3)] == [State.TRIAL, State.OPEN, State.OPEN]
    # It died with it: another is let through in time.
    clock.pass_by(breaker.TRIAL + 1)
    assert breaker.ask("first") is State.TRIAL
    assert breaker.note("first", 1, 0) == "closed"
    assert breaker.ask("first") is State.CLOSED


def test_without_redis_every_breaker_is_closed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFIER_REDIS_URL", "redis://127.0.0.1:9/0")
    forget()
    assert breaker.note("first", 0, 100) == ""
    assert breaker.ask("first") is State.CLOSED


def test_a_provider_that_is_given_too_much_is_not_held_for_broken(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    worker, first, _ = pair(configured, lambda _: RetryLater("1", "too fast", throttled=True))
    to_addresses(connection, tenant, 2 * breaker.LEAST)
    run_all(database, worker)
    assert database.statuses() == {"sent": 2 * breaker.LEAST}, "by the other, at once"
    assert breaker.ask("first") is State.CLOSED
    to_addresses(connection, tenant, 2 * breaker.LEAST)
    first.say = accept
    run_all(database, worker)
    assert len(first.given) == 4 * breaker.LEAST


def test_alone_a_provider_is_tried_whatever_its_breaker_says(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    breaker.note("first", 0, 100)
    only = First(accept)
    to_addresses(connection, tenant, 2)
    run_all(database, Worker(dict.fromkeys(Channel, (only,)), configured))
    assert len(only.given) == 2
