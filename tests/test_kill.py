"""Real processes, really killed: nothing lost, nothing stuck, nothing doubled beyond the policy."""

import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from notifier import emit, queue, relay
from notifier.local import Services
from notifier.local.stack import Stack
from notifier.settings import settings
from notifier.store import audience, system
from notifier.words import DispatchKind
from tests.conftest import Database
from tests.test_emit import TASK

LEASE = 3.0
ONE = {"worker": ["worker", "-c", "2"]}
FOUR = {f"worker-{n}": ["worker", "-c", "1"] for n in range(4)}


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """The file in which the sandbox notes every call before it answers."""
    return tmp_path / "calls"


@contextmanager
def stack(
    folder: Path,
    calls: Path,
    *,
    latency_ms: int = 20,
    relays: int = 1,
    again: int = 2,
    programs: Mapping[str, list[str]] = ONE,
) -> Iterator[Stack]:
    """A relay and workers whose every channel is the sandbox."""
    wanted = {**programs, **{f"relay-{n}": ["relay"] for n in range(relays)}}
    with Stack(
        wanted,
        logs=folder / "logs",
        environment={
            "NOTIFIER_PROVIDERS": "*=sandbox",
            "NOTIFIER_SANDBOX_LOG": str(calls),
            "NOTIFIER_SANDBOX_LATENCY_MS": str(latency_ms),
            "NOTIFIER_LEASE_SECONDS": str(LEASE),
            "NOTIFIER_RING_AGAIN_SECONDS": str(again),
            "NOTIFIER_FLUSH_SECONDS": "0.2",
        },
    ) as running:
        yield running


def called(calls: Path) -> Counter[str]:
    """Provider calls by delivery."""
    if not calls.exists():
        return Counter()
    return Counter(line.split()[0] for line in calls.read_text().splitlines())


def has_called(calls: Path, more_than: int) -> bool:
    return called(calls).total() > more_than


def until(true: Callable[[], object], seconds: float, what: str) -> float:
    """Wait for a condition; how long it took."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds, f"{what} within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - started


def finished(database: Database) -> bool:
    return not database.one("SELECT count(*) FROM notifier.dispatches")


def mails(connection: Connection, tenant: uuid.UUID, count: int, events: int = 1) -> None:
    """`events` emits of `count` e-mails each, all to addresses of their own."""
    audience.upsert_recipients(
        connection,
        tenant,
        [
            {
                "external_id": f"m{n}",
                "contact_points": [{"channel": "email", "address": f"m{n}@example.com"}],
            }
            for n in range(count)
        ],
    )
    for _ in range(events):
        emit(
            connection,
            "task.due_soon",
            TASK,
            tenant=tenant,
            to={"recipients": [f"m{n}" for n in range(count)], "channels": ["email"]},
        )
    connection.commit()


def sound(database: Database) -> None:
    with database.pool.connect() as connection:
        assert system.violations(connection) == {}


def test_messages_published_twice_make_one_call_a_mail(
    database: Database, connection: Connection, tenant: uuid.UUID, tmp_path: Path, calls: Path
) -> None:
    mails(connection, tenant, 10, events=20)
    assert len(relay.relay_once(settings())) == 1, "twenty small dispatches are packed into one"
    for row in database.query("SELECT id, channel, lane FROM notifier.dispatches"):
        for _ in range(3):
            queue.ring(row.id, DispatchKind.DELIVER, row.channel, row.lane)
    with stack(tmp_path, calls, latency_ms=50, programs=FOUR):
        until(lambda: finished(database), 60, "all sent")
    made = called(calls)
    assert (len(made), sum(made.values())) == (200, 200)
    assert database.statuses() == {"sent": 200}
    sound(database)


def test_four_workers_share_two_hundred_mails_whose_messages_came_twice(
    database: Database, connection: Connection, tenant: uuid.UUID, tmp_path: Path, calls: Path
) -> None:
    for first in range(20):
        emit(
            connection,
            "task.due_soon",
            TASK,
            tenant=tenant,
            to={
                "addresses": [
                    {"channel": "email", "address": f"a{first}-{n}@example.com"} for n in range(10)
                ]
            },
        )
    connection.commit()
    with database.pool.begin() as writer:
        # Claimed once and given back: such dispatches are never packed, so four workers compete.
        writer.exec_driver_sql("UPDATE notifier.dispatches SET rings = 1")
    rows = database.query("SELECT id, channel, lane FROM notifier.dispatches")
    assert len(rows) == 20
    for _ in range(2):
        for row in rows:
            queue.ring(row.id, DispatchKind.DELIVER, row.channel, row.lane)
    with stack(tmp_path, calls, latency_ms=50, programs=FOUR):
        until(lambda: finished(database), 60, "all sent")
    made = called(calls)
    assert (len(made), sum(made.values())) == (200, 200)
    sound(database)


def test_a_worker_killed_in_the_middle_of_its_sends_loses_and_doubles_nothing_else(
    database: Database, connection: Connection, tenant: uuid.UUID, tmp_path: Path, calls: Path
) -> None:
    mails(connection, tenant, 300)
    with stack(tmp_path, calls) as running:
        until(lambda: sum(called(calls).values()) > 40, 30, "some sent")
        held = database.one("SELECT count(*) FROM notifier.dispatches WHERE lease_until > now()")
        for pid in reversed(running.pids("worker")):
            os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        assert held == 1
        until(
            lambda: database.one("SELECT count(*) FROM notifier.delivery_journal WHERE claim > 1"),
            LEASE + 2,
            "taken over",
        )
        took = time.monotonic() - killed
        until(lambda: finished(database), 60, "all sent")
    assert database.statuses() == {"sent": 300}
    made = called(calls)
    assert len(made) == 300
    repeated = {delivery for delivery, times in made.items() if times > 1}
    assert max(made.values()) <= 2
    # Whatever was repeated was in doubt: unrecorded in the chunk that was taken over.
    again = {
        str(row[0])
        for row in database.query(
            "SELECT delivery_id FROM notifier.delivery_journal WHERE claim > 1"
        )
    }
    assert repeated <= again
    assert took < LEASE + 2
    sound(database)


def test_redis_wiped_at_peak_loses_nothing(
    services: Services,
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    tmp_path: Path,
    calls: Path,
) -> None:
    """Only the relay's noticing can help here: what was rung is not rung again for ten minutes."""
    with stack(tmp_path, calls, latency_ms=5, again=600) as running:
        mails(connection, tenant, 20)
        until(lambda: finished(database), 30, "the workers are up")
        for wipe in (lambda: queue.redis().flushall(), lambda: services.restart_redis(wipe=True)):
            running.kill("worker", signal.SIGSTOP)
            mails(connection, tenant, 100, events=6)
            until(
                lambda: database.one(
                    "SELECT count(*) FROM notifier.dispatches WHERE last_rung_at IS NOT NULL"
                ),
                10,
                "rung",
            )
            wipe()
            running.kill("worker", signal.SIGCONT)
            took = until(lambda: finished(database), 60, "all sent")
            assert took < 30
    assert database.statuses() == {"sent": 1220}
    assert set(called(calls).values()) == {1}
    sound(database)


def test_a_worker_frozen_past_its_lease_changes_nothing_when_it_wakes(
    database: Database, connection: Connection, tenant: uuid.UUID, tmp_path: Path, calls: Path
) -> None:
    mails(connection, tenant, 200)
    one = ["worker", "-c", "1"]
    with stack(tmp_path, calls, programs={"first": one, "second": one}) as running:
        until(lambda: sum(called(calls).values()) > 20, 30, "some sent")
        frozen = next(
            name for name in ("first", "second") if '"dispatch"' in running.log(name).read_text()
        )
        pids = running.pids(frozen)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        until(lambda: finished(database), 60, "the other worker sent the rest")
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        until(lambda: "claim_lost" in running.log(frozen).read_text(), 20, "the zombie noticed")
    assert database.statuses() == {"sent": 200}
    made = called(calls)
    assert max(made.values()) <= 2
    again = {
        str(row[0])
        for row in database.query(
            "SELECT delivery_id FROM notifier.delivery_journal WHERE claim > 1"
        )
    }
    assert {delivery for delivery, times in made.items() if times > 1} <= again
    sound(database)


def test_sms_calls_in_doubt_are_asked_about_and_never_repeated_by_hand(
    database: Database, connection: Connection, tenant: uuid.UUID, tmp_path: Path, calls: Path
) -> None:
    emit(
        connection,
        "task.due_soon",
        TASK,
        tenant=tenant,
        to={"addresses": [{"channel": "sms", "address": f"+1415555{n:04d}"} for n in range(60)]},
    )
    connection.commit()
    with stack(tmp_path, calls, latency_ms=40) as running:
        until(lambda: sum(called(calls).values()) > 12, 30, "some sent")
        for pid in reversed(running.pids("worker")):
            os.kill(pid, signal.SIGKILL)
        until(lambda: finished(database), 60, "all settled")
    assert database.statuses() == {"sent": 60}
    # The sandbox keeps a message with its outcome, so it truly had no trace of those it was asked
    # about: they alone were sent again, after the question.
    asked = {
        str(row[0])
        for row in database.query(
            "SELECT delivery_id FROM notifier.delivery_journal WHERE code = 'not_found'"
        )
    }
    assert {delivery for delivery, times in called(calls).items() if times > 1} <= asked
    sound(database)


def test_a_relay_killed_again_and_again_and_two_relays_at_once_ring_everything(
    database: Database, connection: Connection, tenant: uuid.UUID, tmp_path: Path, calls: Path
) -> None:
    with stack(tmp_path, calls, latency_ms=1, relays=2) as running:
        for _ in range(5):
            mails(connection, tenant, 40, events=3)
            for name in ("relay-0", "relay-1"):
                with suppress(ProcessLookupError):  # not back yet from the last time
                    running.kill(name)
        until(lambda: finished(database), 60, "all sent")
    assert database.statuses() == {"sent": 600}
    assert set(called(calls).values()) == {1}
    sound(database)


def test_a_worker_asked_to_stop_hands_back_and_the_next_one_goes_on(
    database: Database, connection: Connection, tenant: uuid.UUID, tmp_path: Path, calls: Path
) -> None:
    mails(connection, tenant, 300)
    with stack(tmp_path, calls, latency_ms=10) as running:
        for wanted in (20, 100, 180):
            until(partial(has_called, calls, wanted), 30, "some sent")
            running.kill("worker", signal.SIGTERM)
        until(lambda: finished(database), 60, "all sent")
    assert database.statuses() == {"sent": 300}
    assert set(called(calls).values()) == {1}, "no finished send was repeated"
    assert database.one("SELECT max(claim) FROM notifier.delivery_journal") == 1
    sound(database)
