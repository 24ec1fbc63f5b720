"""Writing a window's outcomes: once, whatever breaks, and whatever the provider said."""

import uuid
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from notifier import receipts, record
from notifier.channels import registry
from notifier.channels.contract import Message
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.settings import Settings
from notifier.status import Status
from notifier.store import deliveries
from notifier.worker import Worker
from tests.conftest import Database
from tests.engine import Scripted, accept, configured, due_now, run_due, sound, to, worker

__all__ = ["configured", "sound"]


def severed() -> OperationalError:
    return OperationalError("COMMIT", None, psycopg.OperationalError("connection lost"))


@pytest.mark.parametrize("committed", [False, True], ids=["rolled back", "acknowledgement lost"])
def test_outcomes_whose_commit_fails_are_written_once(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
) -> None:
    to(connection, tenant, ["ada", "bob", "eve"])
    write, faults = record._write, [1]

    def fails_once(*arguments: Any) -> bool:
        if not faults:
            return write(*arguments)
        faults.pop()
        if committed:
            write(*arguments)
            raise severed()
        with monkeypatch.context() as patched:
            patched.setattr(deliveries, "tell", lambda *_: (_ for _ in ()).throw(severed()))
            return write(*arguments)

    monkeypatch.setattr(record, "_write", fails_once)

    def say(message: Message) -> Outcome:
        if message.address.startswith("bob"):
            return RetryLater("503", "busy")
        return accept(message)

    busy = worker(configured, say)
    busy.pace["scripted"] = 4.0  # two sends a window
    run_due(database, busy)
    assert database.statuses() == {"sent": 2, "retrying": 1}
    assert database.query("SELECT cardinality(delivery_ids) FROM notifier.dispatches") == [(1,)]
    assert database.one("SELECT count(*) FROM notifier.delivery_journal") == 3
    assert not database.one("SELECT count(*) FROM notifier.provider_messages WHERE late")


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"], ids=["NUL", "half a pair"])
@pytest.mark.parametrize("kind", [Accepted, Rejected, RetryLater, Unsure])
def test_whatever_a_provider_says_can_be_written(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    text: str,
    kind: type,
) -> None:
    to(connection, tenant, ["ada"])
    words: Sequence[str] = (text,) if kind is Unsure else (text, text)
    run_due(database, worker(configured, lambda _: kind(*words)))
    assert database.one("SELECT count(*) FROM notifier.delivery_journal") == 1


def test_an_inbox_message_to_somebody_deleted_takes_no_other_with_it(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"], channel="inapp")
    with database.pool.begin() as writer:
        writer.exec_driver_sql("DELETE FROM notifier.recipients WHERE external_id = 'ada'")
    inbox = Worker(registry.choose({}), configured)
    run_due(database, inbox)
    assert database.one("SELECT count(*) FROM notifier.notifications") == 1
    assert database.statuses() == {"delivered": 2}


def test_a_provider_that_breaks_loses_no_outcome_it_had_told(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob", "eve"])
    told: list[uuid.UUID] = []

    def breaks(message: Message) -> Outcome:
        if len(told) == 2:
            raise RuntimeError("a fault of ours")
        told.append(message.delivery_id)
        return accept(message)

    with pytest.raises(RuntimeError):
        run_due(database, worker(configured, breaks))
    assert database.statuses() == {"sent": 2, "queued": 1}


def test_what_a_receipt_has_settled_is_not_sent_again(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"])

    def settled(message: Message) -> Outcome:
        if message.address.startswith("ada"):
            receipt(database, message.delivery_id)
        return RetryLater("503", "busy")

    run_due(database, worker(configured, settled))
    assert database.statuses() == {"sent": 1, "retrying": 1}
    carried = database.query("SELECT cardinality(delivery_ids) FROM notifier.dispatches")
    assert carried == [(1,)]
    due_now(database)
    provider = Scripted(accept)
    run_due(database, worker(configured, provider))
    assert [message.address for message in provider.given] == ["bob@example.com"]
    assert database.statuses() == {"sent": 2}


def receipt(database: Database, delivery: uuid.UUID) -> None:
    """A provider's word that came before the worker's own."""
    with database.pool.begin() as writer:
        receipts.apply(writer, [receipts.Receipt(delivery, Status.SENT, "scripted", attempt=1)])
