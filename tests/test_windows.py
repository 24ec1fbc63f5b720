"""Windows: how many a provider is given at a time, and what becomes of those it did not begin."""

import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from notifier import record
from notifier.channels.contract import MayStart, Message, Outcomes
from notifier.outcome import Outcome, RetryLater
from notifier.retry import STEPS
from notifier.settings import Settings
from notifier.settle import Results
from notifier.words import Channel
from notifier.worker import Chunk
from tests.conftest import Database
from tests.engine import Scripted, accept, configured, run_due, sound, to, to_addresses, worker

__all__ = ["configured", "sound"]


class Windows(Scripted):
    """Takes its time for each message, and remembers how many it was given at a time."""

    at_once = 4

    def __init__(self, seconds: float) -> None:
        super().__init__(accept)
        self.seconds = seconds
        self.sizes: list[int] = []

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        self.sizes.append(len(messages))
        for pair in super().send(messages, may_start):
            time.sleep(self.seconds)
            yield pair


def test_a_provider_slower_than_a_flush_is_given_as_many_as_it_sends_at_once(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to_addresses(connection, tenant, 20)
    slow = Windows(0.02)
    run_due(database, worker(configured.model_copy(update={"flush_seconds": 0.01}), slow))
    assert slow.sizes == [20]
    to_addresses(connection, tenant, 20)
    paced = worker(configured.model_copy(update={"flush_seconds": 0.01}), slow)
    paced.pace["scripted"] = 1.0
    run_due(database, paced)
    assert slow.sizes[1:] == [4] * 5
    assert database.statuses() == {"sent": 40}


def test_a_dispatch_has_its_time_and_no_more_within_a_window_too(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to_addresses(connection, tenant, 20)
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


@pytest.fixture
def slow_records(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A database that takes a tenth of a second for each window; how many outcomes each wrote."""
    write = record._write
    written: list[int] = []

    def slowly(chunk: Chunk, results: Results, *rest: Any) -> bool:
        time.sleep(0.1)
        written.append(len(results.moves))
        return write(chunk, results, *rest)

    monkeypatch.setattr(record, "_write", slowly)
    return written


def test_a_slow_database_is_written_to_no_more_often(
    connection: Connection,
    database: Database,
    tenant: uuid.UUID,
    configured: Settings,
    slow_records: list[int],
) -> None:
    to_addresses(connection, tenant, 20)

    def first_is_slow(message: Message) -> Outcome:
        if not provider.given[1:]:
            time.sleep(0.06)
        return accept(message)

    provider = Scripted(first_is_slow)
    run_due(database, worker(configured.model_copy(update={"flush_seconds": 0.05}), provider))
    assert slow_records == [1, 19]


def test_the_databases_time_is_not_taken_for_the_providers_silence(
    connection: Connection,
    database: Database,
    tenant: uuid.UUID,
    configured: Settings,
    slow_records: list[int],
) -> None:
    to_addresses(connection, tenant, 20)
    provider = Scripted(accept)
    provider.deadline = timedelta(seconds=0.1)
    quick = worker(configured.model_copy(update={"flush_seconds": 0.0}), provider)
    run_due(database, quick)
    assert len(slow_records) > 2
    assert not quick.slowness.is_slow(Channel.EMAIL)


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
    to_addresses(connection, tenant, 20)
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
