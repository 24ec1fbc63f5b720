"""The relay: what it rings, packs and leaves alone."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from notifier import deliver, queue, relay
from notifier.settings import Settings
from notifier.store import dispatches
from notifier.words import Channel, Lane
from tests.conftest import Database
from tests.engine import Paused, configured, lapse, sound, to

__all__ = ["configured", "sound"]


def mails(
    database: Database, tenant: uuid.UUID, count: int, *, age: int = 0, rung: bool = False
) -> None:
    """A dispatch of so many mails on the bulk lane; they are nobody's, so clear them away."""
    with database.pool.begin() as writer:
        writer.exec_driver_sql(
            "INSERT INTO notifier.dispatches (kind, tenant_id, channel, lane, delivery_ids, "
            "due_at, last_rung_at, rings) "
            "SELECT 'deliver', %(tenant)s, 'email', 'bulk', array_agg(gen_random_uuid()), "
            "now() - %(age)s * interval '1 s', CASE WHEN %(rung)s THEN now() END, %(rung)s::int "
            "FROM generate_series(1, %(count)s)",
            {"tenant": tenant, "age": age, "rung": rung, "count": count},
        )


@pytest.fixture
def nobodys(database: Database) -> Iterator[None]:
    yield
    with database.pool.begin() as writer:
        writer.exec_driver_sql("DELETE FROM notifier.dispatches")


def test_a_relay_run_twice_over_a_backlog_rings_each_dispatch_once(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    for _ in range(5):
        to(connection, tenant, ["ada", "bob", "eve"], channel="inapp", lane="bulk")
        to(connection, tenant, ["ada"], channel="email", lane="critical")
    assert len(relay.relay_once(configured)) == 2
    assert relay.relay_once(configured) == []
    assert queue.redis().llen("notifier.inapp.bulk") == 1
    assert queue.redis().llen("notifier.email.critical") == 1
    assert database.one("SELECT sum(cardinality(delivery_ids)) FROM notifier.dispatches") == 20


def test_a_wiped_redis_is_noticed_and_everything_is_rung_again(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    relay.notice_lost_queue()
    assert len(relay.relay_once(configured)) == 1
    relay.notice_lost_queue()
    assert relay.relay_once(configured) == []
    queue.redis().flushall()
    relay.notice_lost_queue()
    assert len(relay.relay_once(configured)) == 1
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


def test_a_packed_chunk_is_of_one_event_or_of_none(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """What waits of several events again, and one event's own: a cancel has to find them all."""
    for name in ("ada", "bob"):
        to(connection, tenant, [name])
    with database.pool.begin() as writer:
        dispatches.pack(writer)
    to(connection, tenant, ["eve"])
    with database.pool.begin() as writer:
        # Last in every order, so that it is the label of eve's event that comes first.
        writer.exec_driver_sql(
            "UPDATE notifier.dispatches SET due_at = clock_timestamp() WHERE event_id IS NULL"
        )
        dispatches.pack(writer)
    ((event, of, carried),) = database.query(
        "SELECT event_id, tenant_id, cardinality(delivery_ids) FROM notifier.dispatches"
    )
    assert (event, of, carried) == (None, tenant, 3)


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


@pytest.mark.usefixtures("nobodys")
def test_a_campaign_takes_turns_with_other_tenants_by_what_it_has_in_hand(
    database: Database, configured: Settings
) -> None:
    """Its work is older, but a worker holds some of it already, and there is one place."""
    campaign, other = uuid.uuid4(), uuid.uuid4()
    narrow = configured.model_copy(update={"rung_per_queue": 1})

    mails(database, campaign, 500, age=100, rung=True)
    with database.pool.begin() as writer:
        writer.exec_driver_sql(
            "UPDATE notifier.dispatches SET lease_until = now() + interval '1 minute'"
        )
    mails(database, campaign, 500, age=90)
    mails(database, other, 500, age=10)
    relay.relay_once(narrow)
    assert (
        database.one(
            "SELECT tenant_id FROM notifier.dispatches "
            "WHERE last_rung_at IS NOT NULL AND lease_until IS NULL"
        )
        == other
    )


@pytest.mark.usefixtures("nobodys")
def test_full_chunks_that_were_just_rung_keep_back_no_small_work(
    database: Database, configured: Settings
) -> None:
    campaign, other = uuid.uuid4(), uuid.uuid4()
    for _ in range(3):
        mails(database, campaign, 500, age=10, rung=True)
    mails(database, other, 3)
    (rung,) = relay.relay_once(configured)
    assert rung.is_small


@pytest.mark.usefixtures("nobodys")
def test_small_work_waits_for_others_half_a_second_and_no_longer(
    database: Database, configured: Settings
) -> None:
    tenant = uuid.uuid4()
    mails(database, tenant, 3, rung=True)
    mails(database, tenant, 2)
    assert relay.relay_once(configured) == []
    with database.pool.begin() as writer:
        writer.exec_driver_sql(
            "UPDATE notifier.dispatches SET due_at = due_at - interval '0.5 s' WHERE rings = 0"
        )
    assert len(relay.relay_once(configured)) == 1


@pytest.mark.usefixtures("nobodys")
def test_small_work_that_is_kept_back_takes_no_place(
    database: Database, configured: Settings
) -> None:
    """Many small dispatches that pack can not merge, because each is another tenant's."""
    narrow = configured.model_copy(update={"rung_per_queue": 4})
    tenants = [uuid.uuid4() for _ in range(4)]
    for tenant in tenants:
        mails(database, tenant, 3, age=5, rung=True)
        mails(database, tenant, 2)
    with database.pool.begin() as writer:
        writer.exec_driver_sql(
            "UPDATE notifier.dispatches SET lease_until = now() + interval '1 minute' "
            "WHERE tenant_id = ANY(%s) AND rings = 1",
            (tenants[:2],),
        )
    mails(database, uuid.uuid4(), 500)
    rung = relay.relay_once(narrow)
    # Two wait; of the two places left none goes to the tenants whose small work was just rung.
    assert sorted(work.is_small for work in rung) == [False, True]


def test_every_queue_there_is_gets_rung(database: Database, configured: Settings) -> None:
    with database.pool.begin() as writer:
        for lane in Lane:
            for channel in (None, *Channel):
                writer.exec_driver_sql(
                    "INSERT INTO notifier.dispatches (kind, channel, lane, due_at) "
                    "VALUES (%s, %s, %s, now())",
                    ("fan_out" if channel is None else "deliver", channel, lane),
                )
    assert len(relay.relay_once(configured)) == len(Lane) * (1 + len(Channel))


def test_what_was_rung_and_not_claimed_is_rung_again_after_a_while(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    assert [len(relay.relay_once(configured)), len(relay.relay_once(configured))] == [1, 0]
    with database.pool.begin() as writer:
        writer.exec_driver_sql(
            "UPDATE notifier.dispatches SET last_rung_at = last_rung_at - %s::interval",
            (timedelta(seconds=configured.ring_again_seconds),),
        )
    assert len(relay.relay_once(configured)) == 1


def test_what_a_dead_worker_held_is_rung_as_soon_as_its_lease_is_over(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    assert len(relay.relay_once(configured)) == 1
    held = Paused(deliver.deliver, database.one("SELECT id FROM notifier.dispatches"), configured)
    assert relay.relay_once(configured) == []
    held.dies()
    with database.pool.begin() as writer:
        writer.exec_driver_sql("UPDATE notifier.dispatches SET lease_until = clock_timestamp()")
    assert len(relay.relay_once(configured)) == 1
    assert relay.relay_once(configured) == []
    with database.pool.begin() as writer:
        writer.exec_driver_sql(
            "UPDATE notifier.dispatches SET lease_until = lease_until - interval '1 s', "
            "last_rung_at = last_rung_at - interval '1 s'"
        )
    narrow = configured.model_copy(update={"rung_per_queue": 1})
    assert len(relay.relay_once(narrow)) == 1, "a frozen worker may have taken that message"


def test_rings_that_redis_did_not_take_are_made_again_at_once(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to(connection, tenant, ["ada"])

    def refuses(*_: object) -> None:
        raise ConnectionError("Redis is away")

    with monkeypatch.context() as patched:
        patched.setattr(queue, "ring", refuses)
        with pytest.raises(ConnectionError):
            relay.relay_once(configured)
    assert len(relay.relay_once(configured)) == 1


def test_packing_leaves_what_was_rung_before_alone(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    assert len(relay.relay_once(configured)) == 1
    for name in ("bob", "eve"):
        to(connection, tenant, [name])
    assert relay.relay_once(configured) == [], "one that is nearly empty was just rung"
    with database.pool.begin() as writer:
        writer.exec_driver_sql(
            "UPDATE notifier.dispatches SET last_rung_at = last_rung_at - interval '1 s'"
        )
    assert len(relay.relay_once(configured)) == 1
    assert sorted(
        row[0]
        for row in database.query("SELECT cardinality(delivery_ids) FROM notifier.dispatches")
    ) == [1, 2]


def test_halves_of_a_chunk_that_killed_its_worker_are_not_packed_together_again(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob", "eve"])
    dispatch = database.one("SELECT id FROM notifier.dispatches")
    for _ in range(2):
        Paused(deliver.deliver, dispatch, configured).dies()
        lapse(database)
    relay.relay_once(configured)
    rows = database.query("SELECT cardinality(delivery_ids), attempts FROM notifier.dispatches")
    assert sorted(tuple(row) for row in rows) == [(1, 2), (2, 2)]
