"""What an emit writes, seen through Python; the other faces are compared in test_faces."""

import uuid

import pytest
from sqlalchemy import Connection

from notifier import emit
from notifier.errors import IdempotencyConflict, Refused, UnknownEventType
from notifier.store import audience, suppressions
from tests.conftest import Database

TASK = {"task": {"title": "Write it down", "due_at": "2026-12-01T09:00:00Z"}}


def test_an_emit_commits_and_rolls_back_with_its_caller(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    emit(connection, "task.due_soon", TASK, tenant=tenant, to={"recipients": ["ada"]})
    connection.rollback()
    assert database.one("SELECT count(*) FROM notifier.notification_events") == 0
    event = emit(connection, "task.due_soon", TASK, tenant=tenant, to={"recipients": ["ada"]})
    connection.commit()
    assert database.one("SELECT id FROM notifier.notification_events") == event.id
    assert (event.matched, event.created, event.refused) == (3, 2, 1)


def test_every_refused_pair_leaves_a_row_with_its_reason(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    ids = audience.upsert_recipients(connection, tenant, [{"external_id": "noaddress"}])
    bob = database_id(connection, tenant, "bob")
    audience.prefer(connection, tenant, bob, "category:work", "email", enabled=False)
    suppressions.add(connection, tenant, "email", "eve@example.com", "complaint")
    emit(
        connection,
        "task.due_soon",
        TASK,
        tenant=tenant,
        to={"recipients": ["ada", "bob", "eve", "noaddress"], "channels": ["email"]},
    )
    connection.commit()
    rows = dict(
        database.query(
            "SELECT r.external_id, coalesce(d.reason, d.status) "
            "FROM notifier.notification_deliveries d JOIN notifier.recipients r ON r.id = recipient_id"
        )
    )
    assert ids
    assert rows == {
        "ada": "queued",
        "bob": "opted_out",
        "eve": "suppressed_address",
        "noaddress": "no_address",
    }


def test_the_most_specific_preference_wins_and_the_tenants_default_is_underneath(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    ada, bob = (database_id(connection, tenant, name) for name in ("ada", "bob"))
    audience.prefer(connection, tenant, None, "*", "email", enabled=False)
    audience.prefer(connection, tenant, ada, "*", "email", enabled=False)
    audience.prefer(connection, tenant, ada, "task.due_soon", "email", enabled=True)
    audience.prefer(connection, tenant, bob, "category:work", "email", enabled=True)
    emit(
        connection,
        "task.due_soon",
        TASK,
        tenant=tenant,
        to={"recipients": ["ada", "bob", "eve"], "channels": ["email"]},
    )
    connection.commit()
    rows = database.query(
        "SELECT r.external_id, d.status FROM notifier.notification_deliveries d "
        "JOIN notifier.recipients r ON r.id = recipient_id ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        ("ada", "queued"),
        ("bob", "queued"),
        ("eve", "refused"),
    ]


def test_an_idempotency_key_returns_the_first_event_and_refuses_another_body(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    def once(title: str) -> uuid.UUID:
        payload = {"task": {"title": title, "due_at": "2026-12-01T09:00:00Z"}}
        event = emit(
            connection,
            "task.due_soon",
            payload,
            tenant=tenant,
            to={"recipients": ["ada"]},
            idempotency_key="k1",
        )
        return event.id

    first = once("a")
    connection.commit()
    assert once("a") == first
    with pytest.raises(IdempotencyConflict, match="idempotency_key"):
        once("b")
    connection.commit()
    assert database.one("SELECT count(*) FROM notifier.notification_events") == 1


def test_a_refused_emit_leaves_the_callers_transaction_usable(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    with pytest.raises(UnknownEventType, match="event_type"):
        emit(connection, "no.such", {}, tenant=tenant)
    emit(connection, "task.due_soon", TASK, tenant=tenant, to={"recipients": ["ada"]})
    connection.commit()
    assert database.one("SELECT count(*) FROM notifier.notification_events") == 1


def test_a_large_audience_is_left_to_a_worker(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    audience.upsert_recipients(connection, tenant, [{"external_id": f"r{i}"} for i in range(501)])
    event = emit(connection, "task.due_soon", TASK, tenant=tenant, to={"tenant": True})
    connection.commit()
    assert event.created == 0
    assert database.query("SELECT kind, event_id FROM notifier.dispatches") == [
        ("fan_out", event.id)
    ]


def test_nan_and_nul_and_half_surrogates_are_refused_by_name(
    connection: Connection, tenant: uuid.UUID
) -> None:
    for value in (float("nan"), "a\0b", "\ud800", object()):
        with pytest.raises(Refused, match="payload"):
            emit(connection, "task.due_soon", {"x": value}, tenant=tenant)


def database_id(connection: Connection, tenant: uuid.UUID, external_id: str) -> uuid.UUID:
    found: uuid.UUID = connection.exec_driver_sql(
        "SELECT id FROM notifier.recipients WHERE tenant_id = %s AND external_id = %s",
        (tenant, external_id),
    ).scalar_one()
    return found
