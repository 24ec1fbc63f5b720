"""A worker whose provider says what a test scripts, and the clock of its leases and due times."""

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import greenlet
import pytest
from sqlalchemy import Connection
from sqlalchemy.pool import QueuePool

from notifier import deliver, emit, register
from notifier.channels.contract import MayStart, Message, Outcomes, Provider, Question
from notifier.outcome import Accepted, Answer, NotFound, Outcome, Unsure
from notifier.settings import Settings, settings
from notifier.store import system
from notifier.store.engine import pool
from notifier.words import Channel
from notifier.worker import Worker
from tests.conftest import Database
from tests.test_emit import TASK

Say = Callable[[Message], Outcome]

UNKNOWN = Unsure("this provider can not be asked")

_addresses = itertools.count()


class Scripted(Provider):
    """Says what a test scripts, and remembers what it was given."""

    name = "scripted"
    channels = frozenset(Channel)
    deadline = timedelta(seconds=5)

    def __init__(self, say: Say, answer: Answer = UNKNOWN) -> None:
        self.say, self.answer = say, answer
        self.given: list[Message] = []

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Scripted | None":
        return None

    @classmethod
    def variables(cls) -> Sequence[str]:
        return ()

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        for message in messages:
            if not may_start():
                return
            self.given.append(message)
            yield message, self.say(message)

    def look_up(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
        for question in questions:
            yield question, self.answer


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
    return Worker(dict.fromkeys(Channel, (provider,)), configured.model_copy(update=changes))


def to(
    connection: Connection,
    tenant: uuid.UUID,
    names: Sequence[str],
    channel: str = "email",
    **options: Any,
) -> uuid.UUID:
    event = emit(
        connection,
        "task.due_soon",
        TASK,
        tenant=tenant,
        to={"recipients": list(names), "channels": [channel]},
        **options,
    )
    connection.commit()
    return event.id


def to_addresses(
    connection: Connection, tenant: uuid.UUID, count: int, channel: str = "email"
) -> uuid.UUID:
    """Emit to `count` addresses that no other test or event uses."""
    numbers = [next(_addresses) for _ in range(count)]
    event = emit(
        connection,
        "task.due_soon",
        TASK,
        tenant=tenant,
        to={
            "addresses": [
                {"channel": channel, "address": f"a{n}@example.com"}
                if channel == "email"
                else {"channel": channel, "address": f"+1415{n:07d}"}
                for n in numbers
            ]
        },
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


def run_for(
    database: Database, with_worker: Worker, rounds: int, falls: type[BaseException] = Exception
) -> None:
    """Deliver all there is, so often; where that raises `falls` its claim lapses, as at a death."""
    for _ in range(rounds):
        due_now(database)
        for (dispatch_id,) in database.query("SELECT id FROM notifier.dispatches"):
            try:
                deliver.deliver(dispatch_id, with_worker)
            except falls:
                lapse(database)


def plain_type(database: Database, name: str) -> None:
    """Register an event type for e-mail whose payload may hold anything."""
    with database.pool.begin() as writer:
        register.event_type(
            writer,
            name,
            schema={"type": "object"},
            channels=["email"],
            example={},
            texts={"email": {"subject": "s", "text": "x"}},
        )


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


class Paused:
    """A worker that stands still inside each call of its provider until the test answers it.

    The real `deliver` or `reconcile` runs in a greenlet, so that any number of them can be in the
    middle of a dispatch while others act. `calls` is what it has asked its provider to do.
    """

    def __init__(
        self,
        act: Callable[[uuid.UUID, Worker], None],
        dispatch: uuid.UUID,
        configured: Settings,
        window: int = 1000,
        **changes: object,
    ) -> None:
        self.calls: list[Message] = []
        self.leaving = False
        self.worker = worker(configured, Waiting(self), flush_seconds=60, **changes)
        self.worker.pace = Steady({"scripted": (window + 0.5) / 60})
        self.worker.stopping = lambda: self.leaving
        self._test = greenlet.getcurrent()
        self._run = greenlet.greenlet(act, self._test)
        self._go(dispatch, self.worker)

    def _go(self, *values: object) -> None:
        if not self._run.dead:
            self._run.switch(*values)
        held = pool().pool
        assert isinstance(held, QueuePool)
        assert held.checkedout() == 0, "no connection is held while a provider is spoken to"

    def ask(self, message: Message) -> Outcome | NotFound:
        """Called by the provider: give control to the test until it answers."""
        self.calls.append(message)
        answer: Outcome | NotFound = self._test.switch()
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def at(self) -> Message | None:
        """The message its provider has in hand; None once the worker has ended."""
        return None if self._run.dead else self.calls[-1]

    def answer(self, outcome: Outcome | NotFound) -> None:
        """Let the provider say so; the worker goes on to its next call, or to its end."""
        self._go(outcome)

    def breaks(self) -> None:
        """Let the provider raise, as only a fault of ours can."""
        try:
            self._go(RuntimeError("a fault of ours"))
        except RuntimeError:
            assert self._run.dead

    def dies(self) -> None:
        """SIGKILL: nothing after it runs."""
        self._run.throw()


class Waiting(Scripted):
    """Says what the test says when it is asked; not slow, however long that takes."""

    deadline = timedelta(seconds=20)

    def __init__(self, paused: Paused) -> None:
        super().__init__(paused.ask)  # type: ignore[arg-type]

    def look_up(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
        for question in questions:
            yield question, self.say(question.message)  # type: ignore[misc]


class Steady(dict[str, float]):
    """Paces that no measurement changes, so that a window has the size the test wants."""

    def __setitem__(self, name: str, pace: float) -> None:
        pass
