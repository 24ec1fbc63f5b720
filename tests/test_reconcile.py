"""Calls in doubt on channels that must not repeat them."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from notifier import deliver, emit, reconcile, register
from notifier.channels.contract import Message, Question
from notifier.outcome import Accepted, Answer, Candidates, NotFound, Outcome, Rejected, Unsure
from notifier.settings import Settings
from notifier.store import audience
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


def dies(_: Message) -> Outcome:
    raise Died


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
    answer: Answer,
    end: str,
) -> None:
    to(connection, tenant, ["ada"], channel="sms")
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


class Slow(Scripted):
    """Knows a minute later what became of a message."""

    settles = timedelta(minutes=1)

    def __init__(self) -> None:
        super().__init__(lambda _: Unsure("timeout"), NotFound())
        self.asked = 0

    def look_up(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
        self.asked += 1
        return super().look_up(questions)


@pytest.mark.parametrize("end", ["crash", "timeout"])
def test_a_provider_is_asked_no_sooner_than_it_can_tell(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    end: str,
) -> None:
    """It may still be at work on what we have given up: sent again now, that would be twice."""
    to(connection, tenant, ["ada"], channel="sms")
    slow = Slow()
    if end == "crash":
        with pytest.raises(Died):
            run_due(database, worker(configured, dies))
        lapse(database)
    run_due(database, worker(configured, slow))
    assert database.statuses() == {"sending": 1}
    dispatch, wait = database.query(
        "SELECT id, due_at - created_at FROM notifier.dispatches WHERE kind = 'reconcile'"
    )[0]
    assert timedelta(seconds=59) < wait < timedelta(seconds=62)
    due_now(database)
    reconcile.reconcile(dispatch, worker(configured, slow))
    assert (slow.asked, database.statuses()) == (0, {"sending": 1})
    with database.pool.begin() as writer:
        writer.exec_driver_sql(
            "UPDATE notifier.dispatches SET due_at = now(), created_at = now() - interval '1 minute'"
        )
    reconcile.reconcile(dispatch, worker(configured, slow))
    assert (slow.asked, database.statuses()) == (1, {"retrying": 1})


def test_a_call_in_doubt_is_asked_about_though_it_renders_no_more(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    with database.pool.begin() as writer:
        register.event_type(
            writer,
            "test.fragile",
            schema={"type": "object"},
            channels=["sms"],
            example={},
            texts={"sms": {"text": "{{ 10 // recipient.attributes.parts | default(1) }}"}},
        )
    person: dict[str, Any] = {
        "external_id": "planned",
        "attributes": {"parts": 2},
        "contact_points": [{"channel": "sms", "address": "+14155550999"}],
    }
    audience.upsert_recipients(connection, tenant, [person])
    emit(connection, "test.fragile", {}, tenant=tenant, to={"recipients": ["planned"]})
    connection.commit()
    provider = Scripted(lambda _: Unsure("timeout"), Accepted("found", "sent"))
    run_due(database, worker(configured, provider))
    audience.upsert_recipients(connection, tenant, [{**person, "attributes": {"parts": 0}}])
    connection.commit()
    reconcile.reconcile(
        database.one("SELECT id FROM notifier.dispatches"), worker(configured, provider)
    )
    assert database.statuses() == {"sent": 1}


@pytest.mark.parametrize("end", ["crash", "timeout"])
def test_calls_that_never_arrive_are_not_repeated_for_ever(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    end: str,
) -> None:
    to(connection, tenant, ["ada"], channel="sms")
    calls = []

    def say(message: Message) -> Outcome:
        calls.append(message.attempt)
        if end == "crash":
            raise Died
        return Unsure("timeout")

    provider = Scripted(say, NotFound())
    for _ in range(40):
        due_now(database)
        rows = database.query("SELECT id, kind FROM notifier.dispatches")
        for row in rows:
            act = reconcile.reconcile if row.kind == "reconcile" else deliver.deliver
            try:
                act(row.id, worker(configured, provider))
            except Died:
                lapse(database)
    assert calls == [1, 2, 3, 4, 5]
    assert database.statuses() == {"failed": 1}
    assert database.query("SELECT code FROM notifier.dead_letters") == [("not_found",)]


def test_a_provider_that_breaks_when_asked_ends_in_doubt(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"], channel="sms")

    class Broken(Scripted):
        def look_up(self, messages):  # type: ignore[no-untyped-def]
            raise RuntimeError("a fault of ours")
            yield

    provider = Broken(lambda _: Unsure("timeout"))
    run_due(database, worker(configured, provider))
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    reconcile.reconcile(dispatch, worker(configured, provider))
    assert database.statuses() == {"sending": 1}, "asked again later"
    due_now(database)
    reconcile.reconcile(dispatch, worker(configured, provider, doubt_seconds=0))
    assert database.statuses() == {"unknown": 1}


@pytest.mark.parametrize(
    ("found", "owned", "rival", "end"),
    [
        (["new"], [], False, "sent"),
        # The other one's answer had been recorded: that message is not ours.
        (["other"], ["other"], False, "retrying"),
        (["other", "new"], ["other"], False, "sent"),
        # Two that may be it, or one for two attempts: nobody can tell.
        (["new", "newer"], [], False, "sending"),
        (["new"], [], True, "sending"),
        (["refused"], [], False, "failed"),
    ],
)
def test_of_candidates_only_one_that_is_nobody_elses_is_it(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    found: list[str],
    owned: list[str],
    rival: bool,
    end: str,
) -> None:
    """Two messages to the same number: one that was accepted, or is in doubt too, and ours."""
    to(connection, tenant, ["ada"], channel="sms")
    say = (lambda _: Unsure("no answer")) if rival else (lambda _: Accepted("other", "queued"))
    run_due(database, worker(configured, say))
    before = {row[0] for row in database.query("SELECT id FROM notifier.notification_deliveries")}
    assert bool(owned) <= (not rival)
    to(connection, tenant, ["ada"], channel="sms")
    run_due(database, worker(configured, lambda _: Unsure("no answer")))
    (ours,) = database.query(
        "SELECT id FROM notifier.notification_deliveries WHERE id <> ALL(%s)", list(before)
    )
    answers: dict[str, Accepted | Rejected] = {
        name: Rejected("30005", "no such number") if name == "refused" else Accepted(name, "sent")
        for name in found
    }
    asked = Scripted(accept, Candidates(answers))
    (dispatch,) = database.query(
        "SELECT id FROM notifier.dispatches WHERE kind = 'reconcile' AND %s = ANY(delivery_ids)",
        ours.id,
    )
    reconcile.reconcile(dispatch.id, worker(configured, asked))
    status = "SELECT status FROM notifier.notification_deliveries WHERE id = %s"
    assert database.one(status, ours.id) == end
