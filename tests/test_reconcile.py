"""Calls in doubt on channels that must not repeat them."""

import uuid

import pytest
from sqlalchemy import Connection

from notifier import reconcile
from notifier.channels.contract import Message
from notifier.outcome import Accepted, NotFound, Outcome, Rejected, Unsure
from notifier.settings import Settings
from tests.conftest import Database
from tests.engine import (
    Died,
    Scripted,
    accept,
    configured,
    due_now,
    lapse,
    run_due,
    sound,
    to,
    worker,
)

__all__ = ["configured", "sound"]


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (Accepted("found", "delivered", delivered=True), "delivered"),
        (NotFound(), "retrying"),
        (Rejected("30003", "unreachable"), "failed"),
    ],
)
def test_a_call_in_doubt_is_asked_about_and_not_repeated(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    answer: Outcome | NotFound,
    end: str,
) -> None:
    to(connection, tenant, ["ada"], channel="sms")

    def dies(message: Message) -> Outcome:
        raise Died

    with pytest.raises(Died):
        run_due(database, worker(configured, dies))
    assert database.statuses() == {"sending": 1}
    lapse(database)
    provider = Scripted(accept, answer)
    run_due(database, worker(configured, provider))
    assert provider.given == []
    (row,) = database.query("SELECT id, kind FROM notifier.dispatches")
    assert row.kind == "reconcile"
    reconcile.reconcile(row.id, worker(configured, provider))
    assert database.statuses() == {end: 1}
    assert provider.given == []
    if end == "retrying":
        run_due(database, worker(configured, provider))
        assert len(provider.given) == 1
        assert database.statuses() == {"sent": 1}


def test_what_no_provider_can_settle_becomes_unknown_and_waits_for_an_operator(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"], channel="sms")
    silent = Scripted(lambda _: Unsure("timeout"), Unsure("busy"))
    run_due(database, worker(configured, silent))
    assert database.statuses() == {"sending": 1}
    dispatch = database.one("SELECT id FROM notifier.dispatches WHERE kind = 'reconcile'")
    reconcile.reconcile(dispatch, worker(configured, silent))
    assert database.statuses() == {"sending": 1}, "asked again later"
    due_now(database)
    reconcile.reconcile(dispatch, worker(configured, silent, doubt_seconds=0))
    assert database.statuses() == {"unknown": 1}
    assert database.one("SELECT count(*) FROM notifier.in_doubt") == 1
