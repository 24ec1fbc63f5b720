"""One dispatch through a worker: what each outcome leaves in the rows."""

import uuid

import pytest
from sqlalchemy import Connection

from notifier import emit, messages, register, relay
from notifier.channels import registry
from notifier.outcome import Rejected, RetryLater
from notifier.replay import replay
from notifier.settings import Settings
from notifier.store import account
from notifier.worker import Worker
from tests.conftest import Database
from tests.engine import (
    Scripted,
    configured,
    due_now,
    journal,
    plain_type,
    run_due,
    sound,
    to,
    worker,
)
from tests.test_emit import TASK

__all__ = ["configured", "sound"]


def test_an_accepted_message_is_sent_and_its_dispatch_gone(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    assert run_due(database, worker(configured)) == 1
    assert database.statuses() == {"sent": 1}
    assert journal(database) == [("queued", "sent")]
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0
    assert database.one("SELECT provider_message_id FROM notifier.provider_messages").startswith(
        "id-"
    )


def test_every_scripted_failure_of_the_sandbox_ends_where_it_should(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    words = ("bounce", "fail", "timeout", "429", "5xx", "flaky", "fine")
    emit(
        connection,
        "task.due_soon",
        TASK,
        tenant=tenant,
        to={"addresses": [{"channel": "email", "address": f"x+{w}@example.com"} for w in words]},
    )
    connection.commit()
    quick = Worker(registry.choose({"NOTIFIER_PROVIDERS": "*=sandbox"}), configured)
    for _ in range(6):
        run_due(database, quick)
        due_now(database)
    ends = {
        row[0].split("+")[1].split("@")[0]: (row[1], row[2])
        for row in database.query(
            "SELECT address, status, attempts FROM notifier.notification_deliveries"
        )
    }
    assert ends == {
        "bounce": ("bounced", 1),
        "fail": ("failed", 1),
        "timeout": ("unknown", 5),
        "429": ("failed", 5),
        "5xx": ("failed", 5),
        "flaky": ("sent", 3),
        "fine": ("sent", 1),
    }
    assert database.one("SELECT count(*) FROM notifier.dead_letters") == 3
    assert database.one("SELECT count(*) FROM notifier.suppressions") == 1
    assert database.one("SELECT count(*) FROM notifier.in_doubt") == 1


def test_a_rejected_address_is_never_retried_and_retired(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    provider = Scripted(lambda _: Rejected("550", "5.1.1 unknown", address_dead=True))
    run_due(database, worker(configured, provider))
    assert database.statuses() == {"bounced": 1}
    to(connection, tenant, ["ada"])
    assert run_due(database, worker(configured, provider)) == 0
    assert (
        database.one("SELECT reason FROM notifier.notification_deliveries WHERE status = 'refused'")
        == "no_address"
    )
    assert len(provider.given) == 1


def test_a_template_that_fails_dead_letters_its_own_delivery_and_no_other(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    with database.pool.begin() as writer:
        register.event_type(
            writer,
            "test.fragile",
            schema={"type": "object"},
            channels=["email"],
            example={},
            texts={
                "email": {
                    "subject": "{{ 1 // (0 if recipient.external_id == 'ada' else 1) }}",
                    "text": "x",
                }
            },
        )
    emit(connection, "test.fragile", {}, tenant=tenant, to={"recipients": ["ada", "bob"]})
    connection.commit()
    run_due(database, worker(configured))
    assert database.statuses() == {"failed": 1, "sent": 1}
    assert database.one("SELECT code FROM notifier.dead_letters") == "render"


def test_replay_reopens_the_same_delivery_once(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"])
    run_due(database, worker(configured, lambda _: Rejected("554", "refused")))
    assert database.statuses() == {"failed": 2}
    assert replay(code="other") == 0
    assert replay(code="554") == 2
    assert replay(code="554") == 0
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 2}
    assert journal(database)[-1] == ("queued", "sent")


def test_replay_goes_on_past_a_letter_of_what_was_sent_after_all(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to(connection, tenant, ["ada"])
    run_due(database, worker(configured))
    sent = database.one("SELECT id FROM notifier.notification_deliveries")
    to(connection, tenant, ["bob"])
    run_due(database, worker(configured, lambda _: Rejected("554", "refused")))
    connection.exec_driver_sql(
        "INSERT INTO notifier.dead_letters "
        "(delivery_id, tenant_id, event_id, channel, code, reason, attempts, created_at) "
        "SELECT d.id, d.tenant_id, d.event_id, d.channel, '554', 'refused', 1, '2020-01-01' "
        "FROM notifier.notification_deliveries d WHERE d.id = %s",
        (sent,),
    )
    connection.commit()
    monkeypatch.setattr("notifier.replay.BATCH", 1)
    assert replay() == 1
    assert database.statuses() == {"queued": 1, "sent": 1}
    assert database.one("SELECT count(*) FROM notifier.dead_letters") == 0


def test_in_app_messages_are_in_the_inbox_exactly_once(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"], channel="inapp")
    inbox = Worker(registry.choose({}), configured)
    run_due(database, inbox)
    assert database.statuses() == {"delivered": 2}
    rows = database.query("SELECT title, message FROM notifier.notifications")
    assert len(rows) == 2
    assert all(row.title and row.message for row in rows)


def test_more_templates_than_a_process_keeps_are_compiled_again(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(messages, "_KEPT", 0)
    plain_type(database, "test.other")
    to(connection, tenant, ["ada"])
    run_due(database, worker(configured))
    to(connection, tenant, ["ada"])
    emit(connection, "test.other", {}, tenant=tenant, to={"recipients": ["ada"]})
    connection.commit()
    relay.relay_once(configured)
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 1, "both in one chunk"
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 3}


def test_a_journey_says_once_what_an_attempt_came_to(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    line = "HTTP/1.1 503 Service Unavailable"
    run_due(database, worker(configured, lambda _: RetryLater("503", line)))
    due_now(database)
    run_due(database, worker(configured))
    with database.pool.connect() as reader:
        told = account.longest_journey(reader)
    assert any(step.endswith(f"queued -> retrying  (attempt 1: scripted {line})") for step in told)
    assert "retrying -> sent" in told[-1]
