"""A worker whose provider says what a test scripts, and the clock of its leases and due times."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from notifier import deliver, emit
from notifier.channels.contract import MayStart, Message, Provider
from notifier.outcome import Accepted, NotFound, Outcome
from notifier.settings import Settings, settings
from notifier.store import system
from notifier.words import Channel
from notifier.worker import Worker
from tests.conftest import Database
from tests.test_emit import TASK

Say = Callable[[Message], Outcome]


class Scripted(Provider):
    """Says what a test scripts, and remembers what it was given."""

    name = "scripted"
    channels = frozenset(Channel)
    deadline = timedelta(seconds=0.2)

    def __init__(self, say: Say, answer: Outcome | NotFound | None = None) -> None:
        self.say, self.answer = say, answer
        self.given: list[Message] = []

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Scripted | None":
        return None

    @classmethod
    def variables(cls) -> Sequence[str]:
        return ()

    def send(
        self, messages: Sequence[Message], may_start: MayStart
    ) -> Iterator[tuple[Message, Outcome]]:
        for message in messages:
            if not may_start():
                return
            self.given.append(message)
            yield message, self.say(message)

    def look_up(self, messages):  # type: ignore[no-untyped-def]
        for message in messages:
            yield message, self.answer


class Died(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


def accept(message: Message) -> Outcome:
    return Accepted(f"id-{message.delivery_id}", "250 ok")


@pytest.fixture
def configured(database: Database) -> Settings:
    """The settings, read once the database's variables are set."""
    assert database.engine_url
    return settings()


def worker(configured: Settings, say: Say | Provider = accept, **changes: object) -> Worker:
    provider = say if isinstance(say, Provider) else Scripted(say)
    return Worker(dict.fromkeys(Channel, provider), configured.model_copy(update=changes))


def to(
    connection: Connection,
    tenant: uuid.UUID,
    names: Sequence[str],
    channel: str = "email",
    **options: object,
) -> uuid.UUID:
    event = emit(
        connection,
        "task.due_soon",
        TASK,
        tenant=tenant,
        to={"recipients": list(names), "channels": [channel]},
        **options,  # type: ignore[arg-type]
    )
    connection.commit()
    return event.id


def run_due(database: Database, with_worker: Worker) -> int:
    """Claim and send every dispatch that is due; how many there were."""
    ids = [
        row[0]
        for row in database.query(
            "SELECT id FROM notifier.dispatches WHERE due_at <= now() AND kind = 'deliver'"
        )
    ]
    for dispatch_id in ids:
        deliver.deliver(dispatch_id, with_worker)
    return len(ids)


def due_now(database: Database) -> None:
    with database.pool.begin() as connection:
        connection.exec_driver_sql("UPDATE notifier.dispatches SET due_at = now()")


def lapse(database: Database) -> None:
    """End every lease, as time would."""
    with database.pool.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE notifier.dispatches SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL"
        )


@pytest.fixture(autouse=True)
def sound(database: Database) -> Iterator[None]:
    """Whatever a test did, the invariants hold afterwards."""
    yield
    with database.pool.connect() as connection:
        assert system.violations(connection) == {}


def journal(database: Database) -> list[tuple[str, str]]:
    return [
        (row[0], row[1])
        for row in database.query(
            "SELECT from_status, to_status FROM notifier.delivery_journal ORDER BY at, id"
        )
    ]
