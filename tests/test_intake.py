"""What anybody can write into Redis: no worker dies of it, and what is queued behind it moves."""

import base64
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from notifier import queue
from notifier.words import Channel, DispatchKind, Lane
from tests.conftest import Database
from tests.test_kill import calls, finished, mails, sound, stack, until
from workers.intake import is_message

__all__ = ["calls"]

QUEUE = "notifier.email.normal"


def message(body: str | None = None, **changes: Any) -> dict[str, Any]:
    """A task message as kombu writes it; `changes` are made to its headers."""
    links = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    text = json.dumps([[str(uuid.uuid4())], {}, links]) if body is None else body
    headers = {
        "lang": "py",
        "task": "notifier.deliver",
        "id": str(uuid.uuid4()),
        "eta": None,
        "expires": None,
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": None,
        "parent_id": None,
        "argsrepr": "",
        "kwargsrepr": "",
        "origin": "x",
    }
    return {
        "body": base64.b64encode(text.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {k: v for k, v in {**headers, **changes}.items() if v != "left out"},
        "properties": {
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }


def without(name: str, **changes: Any) -> dict[str, Any]:
    """A message whose part `name` is left out, or is what `changes` says."""
    return {k: v for k, v in {**message(), **changes}.items() if k != name or k in changes}


NOT_MESSAGES: dict[str, Any] = {
    "nothing": b"",
    "not JSON": b"{not json",
    "not text": b"\xff\xfe\x00\x80",
    "another encoding": json.dumps(message()).encode("utf-16"),
    "cut short": json.dumps(message()).encode()[:300],
    "nested without end": b"[" * 200_000,
    "digits without end": b"9" * 6000,
    "a number": 1,
    "a text": "x",
    "null": None,
    "a list": [],
    "an empty object": {},
    "no headers": without("headers"),
    "headers that are a list": without("headers", headers=[]),
    "no properties": without("properties"),
    "no delivery tag": without("properties", properties={"body_encoding": "base64"}),
    "no body": without("body"),
    "a body that is not base64": without("body", body="%%%"),
    "a body that is not JSON": message("{not json"),
    "a body that is a number": message("1"),
    "a body that is empty": message(""),
    "a body of one": message("[1]"),
    "a body of wrong types": message('["x", 7, "y"]'),
    "a body nested without end": message("[" * 100_000),
    "a body that calls another task": message('[[], {}, {"chain": [{"task": "x"}]}]'),
    "pickle": without("content-type", **{"content-type": "application/x-python-serialize"}),
    "an unknown encoding": without("content-encoding", **{"content-encoding": "klingon"}),
    "no id": message(id="left out"),
    "an id that is a number": message(id=7),
    "no task": message(task="left out"),
    "a task that is a list": message(task=["notifier.deliver"]),
    "a time to run": message(eta="9999-12-31T23:59:59+00:00"),
    "a time limit of words": message(timelimit=["a", "b"]),
    "an expiry that is a list": message(expires=[]),
}

REFUSED_BY_CELERY: dict[str, Any] = {
    "an unknown task": message(task="no.such.task"),
    "an id that is none": message('[["x"], {}, {}]'),
    "no arguments": message("[[], {}, {}]"),
    "unknown keywords": message('[[], {"x": 1}, {}]'),
    "an expiry that is no time": message(expires="x"),
}


def raw(given: Any) -> bytes:
    return given if isinstance(given, bytes) else json.dumps(given).encode()


@pytest.mark.parametrize("case", NOT_MESSAGES)
def test_what_is_not_a_message_is_known_for_it(case: str) -> None:
    assert not is_message(raw(NOT_MESSAGES[case]))


@pytest.mark.parametrize("case", REFUSED_BY_CELERY)
def test_what_celery_refuses_by_itself_is_left_to_it(case: str) -> None:
    assert is_message(raw(REFUSED_BY_CELERY[case]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.binary() | JSON.map(raw))
def test_any_bytes_can_be_looked_at(written: bytes) -> None:
    assert not is_message(written)


@given(
    st.sampled_from(["body", "content-type", "content-encoding", "headers", "properties"]),
    JSON,
)
def test_a_message_with_any_part_replaced_can_be_looked_at(part: str, value: Any) -> None:
    is_message(raw({**message(), part: value}))


def test_what_we_ring_is_a_message(database: Database) -> None:
    queue.ring(uuid.uuid4(), DispatchKind.DELIVER, Channel.EMAIL, Lane.NORMAL)
    queue.producer().send_task("notifier.upkeep", queue=queue.direct(QUEUE), expires=3600)
    written: list[Any] = queue.redis().lrange(QUEUE, 0, -1)
    assert [is_message(each) for each in written] == [True, True]


def test_no_worker_dies_of_what_is_not_a_message(
    database: Database, connection: Connection, tenant: uuid.UUID, tmp_path: Path, calls: Path
) -> None:
    one = {"worker": ["worker", "-c", "1"]}
    with stack(tmp_path, calls, latency_ms=0, programs=one) as running:
        mails(connection, tenant, 1)
        until(lambda: finished(database), 30, "the worker is up")
        processes = running.pids("worker")
        for bad in (*NOT_MESSAGES.values(), *REFUSED_BY_CELERY.values()):
            queue.redis().lpush(QUEUE, raw(bad))
        mails(connection, tenant, 1)
        until(lambda: finished(database), 10, "what was queued behind it moves")
        assert running.pids("worker") == processes
        told = running.log("worker").read_text().count('"not_a_message"')
    assert told == len(NOT_MESSAGES)
    assert database.statuses() == {"sent": 2}
    assert queue.redis().llen(QUEUE) == queue.redis().hlen("unacked") == 0
    sound(database)
