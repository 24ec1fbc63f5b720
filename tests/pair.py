"""Two providers of a channel, and what tests do with them."""

import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from notifier import queue
from notifier.channels.contract import Message
from notifier.outcome import NotFound, Outcome, RetryLater
from notifier.settings import Settings
from notifier.store import pauses
from notifier.words import Channel
from notifier.worker import Worker
from tests.conftest import Database
from tests.engine import Scripted, accept, run_due

Say = Callable[[Message], Outcome]


class First(Scripted):
    """The one that is tried first."""

    name = "first"


class Second(Scripted):
    """The one that stands by."""

    name = "second"


@pytest.fixture(autouse=True)
def closed(database: Database) -> None:
    """No breaker of another test."""
    assert database.redis_url
    for key in queue.redis().keys("notifier.breaker.*"):
        queue.redis().delete(key)


def pair(configured: Settings, first: Say, second: Say = accept) -> tuple[Worker, First, Second]:
    chain = First(first, NotFound()), Second(second, NotFound())
    return Worker(dict.fromkeys(Channel, chain), configured), *chain


def fail(_: Message) -> Outcome:
    return RetryLater("503", "service unavailable")


def run_all(database: Database, worker: Worker) -> int:
    """Deliver until nothing is due at this moment; how many dispatches that took."""
    rounds = 0
    while count := run_due(database, worker):
        rounds += count
        assert rounds < 100
    return rounds


def pause(
    connection: Connection, *, channel: Channel | None = None, provider: str | None = None
) -> uuid.UUID:
    made = pauses.begin(
        connection,
        tenant=None,
        channel=channel,
        provider=provider,
        event_type=None,
        reason="maintenance",
        actor=None,
        until=None,
    )
    connection.commit()
    return made
