"""One dispatch through a worker: what each outcome, crash, cancel and deadline leaves in the rows."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from notifier import cancel, deliver, emit, fanout, reconcile, relay
from notifier.channels import registry
from notifier.channels.contract import MayStart, Message, Provider
from notifier.outcome import Accepted, NotFound, Outcome, Rejected, Unsure
from notifier.replay import replay
from notifier.settings import Settings, settings
from notifier.store import audience, dispatches, system
from notifier.store.engine import engine_for
from notifier.words import Channel, Lane
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


def test_a_published_twice_message_is_a_quiet_no_op(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    provider = Scripted(accept)
    for _ in range(3):
        deliver.deliver(dispatch, worker(configured, provider))
    assert len(provider.given) == 1


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
        from notifier import register

        register.event_type(
            writer,
            "test.fragile",
            schema={"type": "object"},
            channels=["email"],
            texts={"email": {"subject": "{{ recipient.attributes.plan.name }}", "text": "x"}},
        )
        audience.upsert_recipients(
            writer,
            tenant,
            [
                {
                    "external_id": "planned",
                    "attributes": {"plan": {"name": "gold"}},
                    "contact_points": [{"channel": "email", "address": "p@example.com"}],
                }
            ],
        )
    emit(connection, "test.fragile", {}, tenant=tenant, to={"recipients": ["ada", "planned"]})
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


def test_what_a_dead_worker_had_sent_and_not_recorded_is_sent_again_under_the_same_id(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"])
    dispatch = database.one("SELECT id FROM notifier.dispatches")

    class Died(BaseException):
        """Stands for SIGKILL: nothing after it runs."""

    def dies(message: Message) -> Outcome:
        raise Died

    provider = Scripted(dies)
    with pytest.raises(Died):
        deliver.deliver(dispatch, worker(configured, provider))
    deliver.deliver(dispatch, worker(configured))
    assert database.statuses() == {"queued": 2}, "the lease still stands"
    lapse(database)
    second = Scripted(accept)
    while run_due(database, worker(configured, second)):
        pass
    assert database.statuses() == {"sent": 2}
    assert provider.given[0].delivery_id in {m.delivery_id for m in second.given}
    assert (
        database.one("SELECT min(claim) FROM notifier.delivery_journal WHERE to_status = 'sent'")
        >= 2
    )


def test_a_zombie_changes_no_status_and_its_fact_is_kept_as_late(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    other = Scripted(accept)

    def slow(message: Message) -> Outcome:
        lapse(database)
        deliver.deliver(dispatch, worker(configured, other))
        return Accepted("late-id", "250 late")

    deliver.deliver(dispatch, worker(configured, slow))
    assert database.statuses() == {"sent": 1}
    assert len(journal(database)) == 1
    rows = database.query(
        "SELECT provider_message_id, late FROM notifier.provider_messages ORDER BY late"
    )
    assert [row[1] for row in rows] == [False, True]
    assert rows[1][0] == "late-id"


def test_a_chunk_that_kills_its_worker_is_halved_until_the_poison_stands_alone(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    audience.upsert_recipients(
        connection,
        tenant,
        [
            {
                "external_id": f"r{i}",
                "contact_points": [{"channel": "email", "address": f"r{i}@example.com"}],
            }
            for i in range(40)
        ],
    )
    to(connection, tenant, [f"r{i}" for i in range(40)])

    class Died(BaseException):
        """Stands for a segfault."""

    def poisoned(message: Message) -> Outcome:
        if message.address == "r7@example.com":
            raise Died
        return accept(message)

    for _ in range(60):
        ids = database.query("SELECT id FROM notifier.dispatches")
        if not ids:
            break
        for (dispatch,) in ids:
            try:
                deliver.deliver(dispatch, worker(configured, poisoned))
            except Died:
                lapse(database)
    assert database.statuses() == {"sent": 39, "failed": 1}
    assert database.query("SELECT code FROM notifier.dead_letters") == [("poison",)]


def test_a_cancelled_event_stops_what_was_not_sent_and_says_so(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    first = to(connection, tenant, ["ada"])
    run_due(database, worker(configured))
    answer = cancel(event=first)
    assert (answer.stopped, answer.in_flight, answer.sent) == (0, 0, 1)
    second = to(connection, tenant, ["ada", "bob"])
    answer = cancel(event=second, actor="ops")
    assert (answer.stopped, answer.in_flight, answer.sent) == (2, 0, 0)
    assert run_due(database, worker(configured)) == 0
    assert database.statuses() == {"sent": 1, "cancelled": 2}


def test_a_cancel_while_a_worker_holds_the_chunk_stops_its_next_window(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    event = to(connection, tenant, ["ada", "bob", "eve"])
    answers = []

    def cancels(message: Message) -> Outcome:
        answers.append(cancel(event=event))
        return accept(message)

    busy = worker(configured, cancels)
    busy.pace["scripted"] = 0.1  # one send a window
    run_due(database, busy)
    assert database.statuses() == {"sent": 1, "cancelled": 2}
    assert (answers[0].stopped, answers[0].in_flight) == (0, 3)


def test_one_delivery_can_be_cancelled_out_of_a_packed_dispatch(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    for name in ("ada", "bob", "eve"):
        to(connection, tenant, [name])
    with database.pool.begin() as writer:
        assert dispatches.pack(writer) == 1
    chosen = database.one(
        "SELECT d.id FROM notifier.notification_deliveries d JOIN notifier.recipients r ON r.id = recipient_id WHERE external_id = 'bob'"
    )
    assert cancel(delivery=chosen).stopped == 1
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 2, "cancelled": 1}


def test_nothing_is_sent_after_its_deadline(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"], expires_at=datetime.now(UTC) - timedelta(seconds=1))
    to(connection, tenant, ["bob"], expires_at=datetime.now(UTC) + timedelta(seconds=0.3))
    import time

    time.sleep(0.4)
    provider = Scripted(accept)
    run_due(database, worker(configured, provider))
    assert database.statuses() == {"refused": 1, "expired": 1}
    assert provider.given == []


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

    class Died(BaseException):
        """Stands for SIGKILL."""

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


def test_a_worker_told_to_stop_finishes_its_send_and_hands_the_rest_back(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob", "eve"])
    stopping: list[bool] = []

    def last(message: Message) -> Outcome:
        stopping.append(True)
        return accept(message)

    leaving = worker(configured, last)
    leaving.stopping = lambda: bool(stopping)
    run_due(database, leaving)
    assert database.statuses() == {"sent": 1, "queued": 2}
    assert database.query("SELECT attempts, lease_until FROM notifier.dispatches") == [(0, None)]
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 3}


def test_a_stopped_sms_worker_takes_back_what_it_announced(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob", "eve"], channel="sms")
    stopping: list[bool] = []

    def last(message: Message) -> Outcome:
        stopping.append(True)
        return accept(message)

    leaving = worker(configured, last)
    leaving.stopping = lambda: bool(stopping)
    run_due(database, leaving)
    assert database.statuses() == {"sent": 1, "queued": 2}
    provider = Scripted(accept)
    run_due(database, worker(configured, provider))
    assert len(provider.given) == 2
    assert database.statuses() == {"sent": 3}


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


def test_a_relay_run_twice_over_a_backlog_rings_each_dispatch_once(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    from notifier import queue

    for _ in range(5):
        to(connection, tenant, ["ada", "bob", "eve"], channel="inapp", lane="bulk")
        to(connection, tenant, ["ada"], channel="email", lane="critical")
    assert relay.relay_once(configured) == 2
    assert relay.relay_once(configured) == 0
    assert queue.redis().llen("notifier.inapp.bulk") == 1
    assert queue.redis().llen("notifier.email.critical") == 1
    assert database.one("SELECT sum(cardinality(delivery_ids)) FROM notifier.dispatches") == 20


def test_a_wiped_redis_is_noticed_and_everything_is_rung_again(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    from notifier import queue

    to(connection, tenant, ["ada"])
    relay.notice_lost_queue()
    assert relay.relay_once(configured) == 1
    relay.notice_lost_queue()
    assert relay.relay_once(configured) == 0
    queue.redis().flushall()
    relay.notice_lost_queue()
    assert relay.relay_once(configured) == 1
    assert database.query("SELECT kind FROM notifier.admin_system_events") == [("queue_lost",)]


def test_packing_leaves_what_was_claimed_before_alone(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    for name in ("ada", "bob", "eve"):
        to(connection, tenant, [name])
    with database.pool.begin() as writer:
        writer.exec_driver_sql(
            "UPDATE notifier.dispatches SET attempts = 1 WHERE id = (SELECT id FROM notifier.dispatches LIMIT 1)"
        )
        dispatches.pack(writer)
    rows = database.query(
        "SELECT attempts, cardinality(delivery_ids) FROM notifier.dispatches ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [(0, 2), (1, 1)]


def test_a_backlog_of_calls_holds_up_no_critical_mail(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    with database.pool.begin() as writer:
        writer.exec_driver_sql(
            "INSERT INTO notifier.dispatches (kind, tenant_id, channel, lane, due_at) "
            "SELECT 'deliver', %s, 'voice', 'bulk', now() - interval '1 hour' "
            "FROM generate_series(1, 20001)",
            (tenant,),
        )
    to(connection, tenant, ["ada"], lane="critical")
    relay.relay_once(configured)
    assert database.one(
        "SELECT last_rung_at IS NOT NULL FROM notifier.dispatches WHERE channel = 'email'"
    )


def test_every_queue_there_is_gets_rung(database: Database, configured: Settings) -> None:
    with database.pool.begin() as writer:
        for lane in Lane:
            for channel in (None, *Channel):
                writer.exec_driver_sql(
                    "INSERT INTO notifier.dispatches (kind, channel, lane, due_at) "
                    "VALUES (%s, %s, %s, now())",
                    ("fan_out" if channel is None else "deliver", channel, lane),
                )
    assert relay.relay_once(configured) == len(Lane) * (1 + len(Channel))


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
