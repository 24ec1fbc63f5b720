"""What providers call back with, from the table it is kept in to the delivery it is about."""

import json
import threading
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection

from notifier import callbacks, suppressions
from notifier.channels.contract import Acknowledged, Fact, Replied, Told
from notifier.settings import Settings
from notifier.status import Status
from notifier.store import audience
from notifier.store.suppressions import STOPPED
from notifier.words import Channel
from tests.conftest import Database
from tests.engine import configured, due_now, run_due, sound, to_addresses, worker

__all__ = ["configured", "sound"]


def keep(database: Database, *facts: Fact, provider: str = "scripted") -> None:
    with database.pool.begin() as connection:
        callbacks.keep(connection, provider, facts)


def waiting(database: Database) -> list[uuid.UUID]:
    rows = database.query(
        "SELECT id FROM notifier.dispatches WHERE kind = 'receive' AND due_at <= now()"
    )
    return [row[0] for row in rows]


def receive(database: Database, configured: Settings) -> None:
    """Work off what is due, as a worker does."""
    for dispatch in waiting(database):
        callbacks.receive(dispatch, worker(configured))


def kept(database: Database) -> list[Any]:
    return database.query(
        "SELECT provider, looks, look_at IS NULL AS given_up FROM notifier.callbacks ORDER BY id"
    )


def sent(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> uuid.UUID:
    """One SMS that its provider accepted."""
    to_addresses(connection, tenant, 1, "sms")
    run_due(database, worker(configured))
    return uuid.UUID(str(database.one("SELECT id FROM notifier.notification_deliveries")))


def test_a_fact_moves_the_delivery_it_names_and_is_forgotten(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    delivery = sent(database, connection, tenant, configured)
    at = datetime(2030, 1, 1, tzinfo=UTC)
    told = Told(
        Status.DELIVERED,
        "SM1",
        "delivered",
        delivery,
        at=at,
        segments=2,
        price=Decimal("0.0075"),
        currency="USD",
    )
    keep(database, told)
    receive(database, configured)
    assert database.statuses() == {"delivered": 1}
    assert database.one("SELECT delivered_at FROM notifier.notification_deliveries") == at
    (row,) = database.query(
        "SELECT raw_status, segments, price, currency, late FROM notifier.provider_messages "
        "WHERE provider_message_id = 'SM1'"
    )
    assert tuple(row) == ("delivered", 2, Decimal("0.0075"), "USD", False)
    assert kept(database) == []
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


def test_a_fact_without_a_name_is_known_by_its_providers_id(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    delivery = sent(database, connection, tenant, configured)
    keep(database, Told(Status.DELIVERED, f"id-{delivery}", "delivered"), provider="another")
    receive(database, configured)
    assert database.statuses() == {"sent": 1}, "the same id of another provider is another message"
    keep(database, Told(Status.DELIVERED, f"id-{delivery}", "delivered"))
    receive(database, configured)
    assert database.statuses() == {"delivered": 1}


def test_a_fact_that_comes_before_our_own_outcome_is_matched_later(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to_addresses(connection, tenant, 1, "sms")
    delivery = database.one("SELECT id FROM notifier.notification_deliveries")
    keep(database, Told(Status.DELIVERED, f"id-{delivery}", "delivered"))
    receive(database, configured)
    assert [tuple(row) for row in kept(database)] == [("scripted", 1, False)]
    assert waiting(database) == [], "it is looked at again later"
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 1}
    later(database)
    receive(database, configured)
    assert database.statuses() == {"delivered": 1}
    assert kept(database) == []
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


def later(database: Database) -> None:
    """As time would."""
    with database.pool.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE notifier.callbacks SET look_at = now() WHERE look_at IS NOT NULL"
        )
    due_now(database)


def test_a_fact_that_nothing_matches_is_kept_in_the_end(
    database: Database, configured: Settings
) -> None:
    keep(database, Told(Status.DELIVERED, "nobody's", "delivered", uuid.uuid4()))
    for _ in range(len(callbacks.WAITS)):
        receive(database, configured)
        assert database.one("SELECT count(*) FROM notifier.dispatches") == 1
        later(database)
    receive(database, configured)
    assert [tuple(row) for row in kept(database)] == [("scripted", len(callbacks.WAITS) + 1, True)]
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


def test_the_same_fact_many_times_and_in_disorder_leaves_one_truth(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    delivery = sent(database, connection, tenant, configured)
    words = [
        Told(Status.DELIVERED, "SM1", "delivered", delivery),
        Told(Status.SENT, "SM1", "sent", delivery),
        Told(None, "SM1", "queued", delivery),
    ]
    for _ in range(3):
        keep(database, *words)
        receive(database, configured)
    assert database.statuses() == {"delivered": 1}
    raws = database.query(
        "SELECT raw_status FROM notifier.provider_messages WHERE provider_message_id = 'SM1'"
    )
    assert sorted(row[0] for row in raws) == ["delivered", "queued", "sent"]


def test_a_word_that_moves_nothing_settles_no_doubt(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to_addresses(connection, tenant, 1, "sms")
    delivery = database.one("SELECT id FROM notifier.notification_deliveries")
    keep(database, Told(None, "SM1", "teleported", delivery))
    receive(database, configured)
    assert database.statuses() == {"queued": 1}
    assert database.one("SELECT raw_status FROM notifier.provider_messages") == "teleported"


def test_an_acknowledgement_was_seen(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    delivery = sent(database, connection, tenant, configured)
    keep(database, Acknowledged(delivery, "keypress"))
    receive(database, configured)
    assert database.statuses() == {"opened": 1}


def test_stop_suppresses_the_number_wherever_it_is_known_and_start_takes_that_back(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    other = audience.create_tenant(connection, "other")
    third = audience.create_tenant(connection, "third")
    number = "+4915112345678"
    for owner in (tenant, other):
        points = [{"channel": "sms", "address": number}, {"channel": "voice", "address": number}]
        audience.upsert_recipients(
            connection, owner, [{"external_id": "x", "contact_points": points}]
        )
    suppressions.add(connection, third, Channel.SMS, number, "by hand", actor="test")
    connection.commit()

    def suppressed() -> set[tuple[object, ...]]:
        rows = database.query("SELECT tenant_id, channel, reason FROM notifier.suppressions")
        return {tuple(row) for row in rows}

    by_hand = (third, "sms", "by hand")
    keep(database, Replied(Channel.SMS, number, False, "STOP"))
    receive(database, configured)
    ours = {(owner, "sms", STOPPED) for owner in (tenant, other)}
    assert suppressed() == ours | {by_hand}
    keep(database, Replied(Channel.SMS, number, True, "START"))
    receive(database, configured)
    assert suppressed() == {by_hand}


def test_a_fact_that_breaks_holds_up_no_other(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    delivery = sent(database, connection, tenant, configured)
    keep(database, Told(Status.DELIVERED, "SM1", "delivered", delivery))
    with database.pool.begin() as writer:
        for broken in ({"fact": "rumour"}, {"fact": "told", "status": "vanished"}):
            writer.exec_driver_sql(
                "INSERT INTO notifier.callbacks (provider, fact) VALUES ('scripted', %s::jsonb)",
                (json.dumps(broken),),
            )
    receive(database, configured)
    assert database.statuses() == {"delivered": 1}
    assert [row.given_up for row in kept(database)] == [True, True]
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


@pytest.mark.parametrize(
    "fact",
    [
        Told(Status.FAILED, "SM1", "failed", uuid.uuid4(), code="30003", detail="off"),
        Told(None, "SM1", "queued"),
        Replied(Channel.SMS, "+4915112345678", False, "STOP"),
        Acknowledged(uuid.uuid4(), "keypress"),
    ],
)
def test_a_fact_reads_as_it_was_written(fact: Fact) -> None:
    assert callbacks._read(json.loads(json.dumps(callbacks._written(fact)))) == fact


def test_a_burst_makes_one_dispatch_and_nothing_is_overlooked(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """Four who keep and two who work off, all at once; whoever is last leaves nothing behind."""
    to_addresses(connection, tenant, 200, "sms")
    run_due(database, worker(configured))
    ids = [
        row[0]
        for row in database.query("SELECT id FROM notifier.notification_deliveries ORDER BY id")
    ]
    finished = threading.Event()

    def keeper(share: list[uuid.UUID]) -> None:
        for delivery in share:
            keep(database, Told(Status.DELIVERED, f"SM-{delivery}", "delivered", delivery))

    def reader() -> None:
        while not finished.is_set() or waiting(database):
            receive(database, configured)

    keepers = [threading.Thread(target=keeper, args=(ids[n::4],)) for n in range(4)]
    readers = [threading.Thread(target=reader) for _ in range(2)]
    for thread in (*keepers, *readers):
        thread.start()
    for thread in keepers:
        thread.join()
    finished.set()
    for thread in readers:
        thread.join()
    assert database.statuses() == {"delivered": 200}
    assert kept(database) == []
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


def test_kept_in_a_transaction_that_is_rolled_back_it_never_was(
    database: Database, configured: Settings
) -> None:
    with database.pool.connect() as connection:
        callbacks.keep(connection, "scripted", [Told(Status.SENT, "SM1", "sent", uuid.uuid4())])
        connection.rollback()
    assert kept(database) == []
    assert waiting(database) == []
