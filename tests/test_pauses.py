"""Pauses: what fits waits, the rest goes on, and nothing is lost, sent twice or left behind."""

import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection

from notifier import cancel, pauses
from notifier.errors import InvalidValue, NotFoundError, UnknownEventType
from notifier.outcome import RetryLater
from notifier.settings import Settings
from notifier.store import audience
from notifier.store import pauses as store
from notifier.words import Channel
from notifier.worker import Worker
from tests.conftest import Database
from tests.engine import (
    Scripted,
    accept,
    configured,
    due_now,
    run_due,
    sound,
    to_addresses,
    worker,
)

__all__ = ["configured", "sound"]


def begin(database: Database, **what: object) -> uuid.UUID:
    with database.pool.begin() as connection:
        return pauses.begin(connection, **{"reason": "carrier trouble", **what})  # type: ignore[arg-type]


def end(database: Database, pause: uuid.UUID) -> int:
    with database.pool.begin() as connection:
        return pauses.end(connection, pause, actor="test")


def events(database: Database) -> list[tuple[str, str]]:
    rows = database.query("SELECT kind, message FROM notifier.admin_system_events ORDER BY id")
    return [(row[0], row[1]) for row in rows]


@pytest.mark.parametrize("by", ["tenant", "channel", "provider", "event_type", "all"])
def test_what_fits_waits_until_the_pause_ends(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    by: str,
) -> None:
    every: dict[str, object] = {
        "tenant": tenant,
        "channel": Channel.EMAIL,
        "provider": "scripted",
        "event_type": "task.due_soon",
    }
    sender = worker(configured)
    # The product's own words: a scripted provider is none that can be found.
    what = every if by == "all" else {by: every[by]}
    with database.pool.begin() as writer:
        pause = store.begin(
            writer,
            **{  # type: ignore[arg-type]
                **dict.fromkeys(("tenant", "channel", "provider", "event_type", "until")),
                **what,
                "reason": "carrier trouble",
                "actor": "test",
            },
        )
    to_addresses(connection, tenant, 3)
    run_due(database, sender)
    assert database.statuses() == {"queued": 3}
    assert run_due(database, sender) == 0, "it is not even looked at meanwhile"
    assert end(database, pause) == 1
    run_due(database, sender)
    assert database.statuses() == {"sent": 3}
    assert events(database) == [("paused", "carrier trouble"), ("resumed", "carrier trouble")]
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


@pytest.mark.parametrize("other", ["tenant", "channel", "provider", "event_type"])
def test_what_does_not_fit_goes_on(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    other: str,
) -> None:
    others: dict[str, object] = {
        "tenant": audience.create_tenant(connection, "other"),
        "channel": Channel.SMS,
        "provider": "smtp",
        "event_type": "user.signup",
    }
    connection.commit()
    begin(database, **{"channel": Channel.EMAIL, other: others[other]})
    to_addresses(connection, tenant, 2)
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 2}


def test_a_packed_chunk_is_parted(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    other = audience.create_tenant(connection, "other")
    connection.commit()
    pause = begin(database, tenant=other)
    to_addresses(connection, tenant, 2)
    to_addresses(connection, other, 3)
    with database.pool.begin() as packer:
        packer.exec_driver_sql("SELECT notifier.pack()")
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 1
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 2, "queued": 3}
    end(database, pause)
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 5}


def test_it_ends_of_itself(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    begin(database, tenant=tenant, until=datetime.now(UTC) + timedelta(hours=1))
    to_addresses(connection, tenant, 1)
    run_due(database, worker(configured))
    wait = database.one("SELECT extract(epoch FROM due_at - now()) FROM notifier.dispatches")
    assert 3500 < wait <= 3600
    with database.pool.begin() as writer:
        writer.exec_driver_sql("UPDATE notifier.pauses SET until = now()")
    due_now(database)
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 1}


def test_what_a_worker_has_in_hand_is_stopped_at_its_next_window(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    made: list[uuid.UUID] = []

    def pausing(message):  # type: ignore[no-untyped-def]
        if not made:
            made.append(begin(database, tenant=tenant))
        return accept(message)

    to_addresses(connection, tenant, 100)
    sender = worker(configured, pausing)
    run_due(database, sender)
    counts = database.statuses()
    assert counts["sent"] + counts["queued"] == 100
    assert counts["sent"] < 100
    end(database, made[0])
    run_due(database, sender)
    assert database.statuses() == {"sent": 100}


def test_a_retry_waits_as_well(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to_addresses(connection, tenant, 1)
    run_due(database, worker(configured, lambda _: RetryLater("503", "later")))
    pause = begin(database, tenant=tenant)
    due_now(database)
    run_due(database, worker(configured))
    assert database.statuses() == {"retrying": 1}
    end(database, pause)
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 1}


def test_what_waits_can_be_cancelled(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    pause = begin(database, tenant=tenant)
    event = to_addresses(connection, tenant, 2)
    run_due(database, worker(configured))
    assert cancel(event=event).stopped == 2
    assert database.statuses() == {"cancelled": 2}
    assert end(database, pause) == 0


def test_parking_and_ending_at_the_same_time_leave_nothing_behind(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    for round in range(10):
        to_addresses(connection, tenant, 5)
        pause = begin(database, tenant=tenant)
        sender = threading.Thread(target=run_due, args=(database, worker(configured)))
        sender.start()
        end(database, pause)
        sender.join()
        parked = database.one(
            "SELECT count(*) FROM notifier.dispatches WHERE due_at > now() + interval '1 minute'"
        )
        assert parked == 0
        for _ in range(3):
            run_due(database, worker(configured))
        assert database.statuses() == {"sent": 5 * (round + 1)}


def test_another_provider_stands_in_for_one_that_is_paused(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    class Smtp(Scripted):
        name = "smtp"

    class SendGrid(Scripted):
        name = "sendgrid"

    first, second = Smtp(accept), SendGrid(accept)
    both = Worker(dict.fromkeys(Channel, (first, second)), configured)
    begin(database, provider="smtp")
    to_addresses(connection, tenant, 2)
    run_due(database, both)
    assert (len(first.given), len(second.given)) == (0, 2)
    begin(database, provider="sendgrid")
    to_addresses(connection, tenant, 2)
    run_due(database, both)
    assert (len(first.given), len(second.given)) == (0, 2)
    assert database.statuses() == {"sent": 2, "queued": 2}


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({}, "pause: expected a tenant, channel, provider or event type"),
        ({"provider": "pigeon"}, "provider: expected one of apns, .*, not 'pigeon'"),
        (
            {"channel": Channel.SMS, "provider": "smtp"},
            "provider: expected one that carries sms: null, sandbox, twilio, vonage, not 'smtp'",
        ),
        ({"channel": Channel.SMS, "reason": "  "}, "reason: expected 1 to 500 characters"),
        ({"channel": Channel.SMS, "reason": "x" * 501}, "reason: expected 1 to 500 characters"),
        ({"channel": Channel.SMS, "until": datetime(2030, 1, 1)}, "until: expected a time with"),  # noqa: DTZ001
        (
            {"channel": Channel.SMS, "until": datetime(2020, 1, 1, tzinfo=UTC)},
            "until: expected a time to come",
        ),
        ({"event_type": "no.such"}, "event_type: expected the name of a registered"),
    ],
)
def test_a_pause_that_makes_no_sense_is_refused(
    database: Database, what: dict[str, object], expected: str
) -> None:
    with pytest.raises((InvalidValue, UnknownEventType), match=expected):
        begin(database, **what)
    assert database.one("SELECT count(*) FROM notifier.pauses") == 0


def test_a_pause_ends_once_and_only_for_whom_it_is(database: Database, tenant: uuid.UUID) -> None:
    pause = begin(database, tenant=tenant)
    with database.pool.begin() as connection, pytest.raises(NotFoundError, match="pause"):
        pauses.end(connection, pause, tenant=uuid.uuid4())
    assert end(database, pause) == 0
    with pytest.raises(NotFoundError, match="pause"):
        end(database, pause)
