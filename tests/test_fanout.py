"""Audiences that are resolved later, or by workers."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from notifier import emit, fanout
from notifier.settings import Settings
from notifier.store import audience
from notifier.store.engine import engine_for
from tests.conftest import Database
from tests.engine import configured, due_now, lapse, sound, to, worker
from tests.test_emit import TASK

__all__ = ["configured", "sound"]


def test_a_scheduled_event_resolves_its_audience_when_due(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"], scheduled_for=datetime.now(UTC) + timedelta(hours=1))
    assert database.statuses() == {}
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    fanout.fan_out(dispatch, worker(configured))
    assert database.statuses() == {}, "not due yet"
    ada = database.one("SELECT id FROM notifier.recipients WHERE external_id = 'ada'")
    audience.prefer(connection, tenant, ada, "*", "email", enabled=False)
    connection.commit()
    due_now(database)
    fanout.fan_out(dispatch, worker(configured))
    assert database.statuses() == {"refused": 1}


def test_a_fan_out_that_does_not_get_on_is_told_once_and_never_dropped(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    audience.upsert_recipients(connection, tenant, [{"external_id": f"r{i}"} for i in range(600)])
    emit(connection, "task.due_soon", TASK, tenant=tenant, to={"tenant": True})
    connection.commit()
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    monkeypatch.setattr(fanout, "PAGE", "not a number")
    for _ in range(6):
        with pytest.raises(DBAPIError):
            fanout.fan_out(dispatch, worker(configured))
        lapse(database)
    assert database.query("SELECT kind FROM notifier.admin_system_events") == [("fan_out_stuck",)]
    monkeypatch.setattr(fanout, "PAGE", 100)
    fanout.fan_out(dispatch, worker(configured))
    assert database.one("SELECT matched FROM notifier.notification_events") == 603 * 3


def test_an_audience_that_grew_while_it_was_counted_is_finished_by_a_worker(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """The count is taken from a function of its own, so that the test can make it outdated."""
    audience.upsert_recipients(connection, tenant, [{"external_id": f"r{i}"} for i in range(600)])
    connection.commit()
    owner = engine_for(database.admin_url)
    with owner.begin() as admin:
        source = admin.exec_driver_sql(
            "SELECT pg_get_functiondef('notifier.emit(text,text,jsonb,jsonb,jsonb)'::regprocedure)"
        ).scalar_one()
        outdated = source.replace("SELECT count(*) > inline_limit", "SELECT count(*) < 0")
        assert outdated != source
        raw = admin.connection.driver_connection
        assert raw is not None
        raw.execute(outdated)
    owner.dispose()
    event = emit(connection, "task.due_soon", TASK, tenant=tenant, to={"tenant": True})
    connection.commit()
    assert event.matched == 501 * 3
    fanout.fan_out(
        database.one("SELECT id FROM notifier.dispatches WHERE kind = 'fan_out'"),
        worker(configured),
    )
    assert database.one("SELECT matched FROM notifier.notification_events") == 603 * 3
    assert database.one("SELECT fanned_out_at IS NOT NULL FROM notifier.notification_events")


def test_a_page_fanned_out_twice_writes_nothing_twice(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """Its cursor is set back, as it would be had the page's commit been lost."""
    audience.upsert_recipients(connection, tenant, [{"external_id": f"r{i}"} for i in range(600)])
    emit(connection, "task.due_soon", TASK, tenant=tenant, to={"tenant": True})
    connection.commit()
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    leaving = worker(configured)
    leaving.stopping = lambda: True
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fanout, "PAGE", 250)
        fanout.fan_out(dispatch, leaving)
    with database.pool.begin() as writer:
        writer.exec_driver_sql(
            "UPDATE notifier.dispatches SET after = NULL WHERE id = %s", (dispatch,)
        )
    fanout.fan_out(dispatch, worker(configured))
    assert sum(database.statuses().values()) == 603 * 3
    assert database.one("SELECT matched FROM notifier.notification_events") == 603 * 3
