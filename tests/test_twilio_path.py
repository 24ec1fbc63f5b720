"""SMS and calls through Twilio, from the emit to the last call back, with the real processes."""

import os
import random
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from sqlalchemy import Connection

from notifier import emit
from notifier.local.stack import Stack
from notifier.store import system
from tests.conftest import Database
from tests.test_emit import TASK
from tests.test_kill import finished, until
from tests.vendors import twilio as vendor
from tests.vendors.server import Said

LEASE = 3.0


@contextmanager
def running(
    database: Database, twilio: vendor.Twilio, folder: Path, doubt: int = 60
) -> Iterator[tuple[Stack, str]]:
    """A worker, a relay and the API, and where the API is reached."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with Stack(
        {"worker": ["worker", "-c", "2"], "relay": ["relay"], "api": ["api"]},
        logs=folder / "logs",
        environment={
            **twilio.environment(),
            "NOTIFIER_PROVIDERS": "*=sandbox,sms=twilio,voice=twilio",
            "NOTIFIER_HTTP_PORT": str(port),
            "NOTIFIER_PUBLIC_URL": url,
            "NOTIFIER_DATABASE_URL": database.engine_url,
            "NOTIFIER_LEASE_SECONDS": str(LEASE),
            "NOTIFIER_DOUBT_SECONDS": str(doubt),
            "NOTIFIER_TWILIO_TIMEOUT_SECONDS": "1",
            "NOTIFIER_RING_AGAIN_SECONDS": "2",
            "NOTIFIER_FLUSH_SECONDS": "0.2",
        },
    ) as stack:
        until(lambda: is_up(url), 30, "the API answers")
        yield stack, url


def is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=1).ok
    except requests.ConnectionError:
        return False


def to_numbers(connection: Connection, tenant: uuid.UUID, channel: str, count: int) -> None:
    emit(
        connection,
        "task.due_soon",
        TASK,
        tenant=tenant,
        to={
            "addresses": [{"channel": channel, "address": f"+1415555{n:04d}"} for n in range(count)]
        },
    )
    connection.commit()


def tell(twilio: vendor.Twilio, record: dict[str, str], kind: str, *words: str) -> None:
    for word in words:
        given = {f"{kind}Sid": record["sid"], f"{kind}Status": word, "To": record["to"]}
        answer = twilio.call_back(record["callback"], **given)
        assert answer.status_code == 204, answer.text


def test_every_sms_is_delivered_by_its_call_backs_word(
    database: Database, connection: Connection, tenant: uuid.UUID, tmp_path: Path
) -> None:
    with vendor.Twilio() as twilio, running(database, twilio, tmp_path):
        to_numbers(connection, tenant, "sms", 30)
        until(lambda: len(twilio.messages) == 30, 30, "all sent")
        until(lambda: database.statuses() == {"sent": 30}, 30, "all recorded")
        told = "SELECT segments, count(*) FROM notifier.provider_messages GROUP BY segments"
        assert database.query(told) == [(1, 30)]
        for record in list(twilio.messages.values()):
            tell(twilio, record, "Message", "sent", "delivered")
        until(lambda: database.statuses() == {"delivered": 30}, 30, "all delivered")
        until(lambda: finished(database), 10, "nothing left")
    with database.pool.connect() as reader:
        assert system.violations(reader) == {}
    assert database.one("SELECT count(*) FROM notifier.callbacks") == 0


@pytest.mark.parametrize("channel", ["sms", "voice"])
def test_workers_killed_while_they_send_repeat_nothing_and_lose_nothing(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    tmp_path: Path,
    channel: str,
) -> None:
    """No call back ever comes: what was in hand when a worker died is asked about."""
    count = 120 if channel == "sms" else 40
    chance = random.Random(channel)
    with vendor.Twilio() as twilio, running(database, twilio, tmp_path) as (stack, _):
        taken = twilio.messages if channel == "sms" else twilio.calls
        twilio.latency = 0.03
        to_numbers(connection, tenant, channel, count)
        for share in (0.2, 0.5):
            until(lambda s=share: len(taken) >= s * count, 60, "some taken")  # type: ignore[misc]
            time.sleep(chance.uniform(0, 0.05))
            until(lambda: stack.pids("worker"), 20, "the worker runs")
            for pid in reversed(stack.pids("worker")):
                # A child of the worker killed before may be gone by now.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        until(lambda: finished(database), 60, "all settled")
    numbers = [record["to"] for record in taken.values()]
    assert sorted(numbers) == sorted(set(numbers)), "somebody was sent to twice"
    assert len(numbers) == count
    assert database.statuses() == {"sent": count}
    with database.pool.connect() as reader:
        assert system.violations(reader) == {}


def test_what_stays_in_doubt_ends_as_unknown_and_its_call_back_settles_it(
    database: Database, connection: Connection, tenant: uuid.UUID, tmp_path: Path
) -> None:
    with vendor.Twilio() as twilio, running(database, twilio, tmp_path, doubt=4):
        # It takes the message and says nothing, then nor does its list.
        twilio.after = lambda asked: Said(0, cut=True) if asked.method == "POST" else None
        twilio.before = lambda asked: Said(503, {}) if asked.method == "GET" else None
        to_numbers(connection, tenant, "sms", 1)
        until(lambda: database.statuses() == {"unknown": 1}, 60, "unknown")
        assert len(twilio.messages) == 1
        (record,) = twilio.messages.values()
        assert database.one("SELECT count(*) FROM notifier.in_doubt") == 1
        tell(twilio, record, "Message", "delivered")
        until(lambda: database.statuses() == {"delivered": 1}, 20, "delivered")
        assert database.one("SELECT count(*) FROM notifier.in_doubt") == 0
