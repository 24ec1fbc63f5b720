"""Routes: each tenant and each address has its providers, or none, and it says so."""

import uuid

from sqlalchemy import Connection

from notifier.outcome import NotFound, Rejected
from notifier.replay import replay
from notifier.settings import Settings
from notifier.store import audience, pauses, routes
from notifier.words import Channel
from notifier.worker import Worker
from tests.conftest import Database
from tests.engine import accept, configured, sound, to_addresses
from tests.pair import First, Second, closed, fail, pair, pause, run_all

__all__ = ["closed", "configured", "sound"]


class Even(First):
    """Carries to addresses with an even number."""

    def check_address(self, channel: Channel, address: str) -> str | None:
        return None if number(address) % 2 == 0 else "an even address"


class Odd(Second):
    """Carries to addresses with an odd number."""

    def check_address(self, channel: Channel, address: str) -> str | None:
        return None if number(address) % 2 else "an odd address"


def number(address: str) -> int:
    return int(address.removeprefix("a").partition("@")[0])


def test_each_provider_is_given_the_addresses_it_can_carry_to(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """Nor does one take over for the other: a push token is good for its own service alone."""
    chain = Even(fail, NotFound()), Odd(accept, NotFound())
    to_addresses(connection, tenant, 6)
    run_all(database, Worker(dict.fromkeys(Channel, chain), configured))
    even, odd = chain
    assert {number(m.address) % 2 for m in even.given} == {0}
    assert {number(m.address) % 2 for m in odd.given} == {1}
    assert (len(even.given), len(odd.given)) == (3, 3), "no second attempt without a wait"
    assert database.statuses() == {"retrying": 3, "sent": 3}
    wait = database.one("SELECT extract(epoch FROM min(due_at) - now()) FROM notifier.dispatches")
    assert wait > 10


def test_what_no_provider_can_carry_to_fails_with_the_words_of_the_first(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    class Choosy(First):
        def check_address(self, channel: Channel, address: str) -> str | None:
            return "another address"

    class Neither(Second):
        def check_address(self, channel: Channel, address: str) -> str | None:
            return "another address, too"

    chain = Choosy(lambda _: Rejected("address", "expected another address")), Neither(accept)
    to_addresses(connection, tenant, 1)
    run_all(database, Worker(dict.fromkeys(Channel, chain), configured))
    assert database.statuses() == {"failed": 1}
    reason = database.one("SELECT reason FROM notifier.dead_letters")
    assert reason == "expected another address"


def in_one_chunk(database: Database, connection: Connection, counts: dict[uuid.UUID, int]) -> None:
    """So many deliveries of each tenant, packed together."""
    for tenant, count in counts.items():
        to_addresses(connection, tenant, count)
    with database.pool.begin() as packer:
        packer.exec_driver_sql("SELECT notifier.pack()")
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 1


def test_a_tenants_own_route_is_taken(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """In one chunk with another tenant's, who has none."""
    other = audience.create_tenant(connection, "other")
    routes.replace(connection, tenant, Channel.EMAIL, [("second", 0, 1)])
    connection.commit()
    worker, first, second = pair(configured, accept)
    in_one_chunk(database, connection, {tenant: 3, other: 2})
    run_all(database, worker)
    assert database.statuses() == {"sent": 5}
    assert {m.tenant_id for m in second.given} == {tenant}
    assert {m.tenant_id for m in first.given} == {other}


def test_weights_share_the_work(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    routes.replace(connection, tenant, Channel.EMAIL, [("first", 0, 1), ("second", 0, 3)])
    connection.commit()
    worker, first, second = pair(configured, accept)
    to_addresses(connection, tenant, 200)
    run_all(database, worker)
    assert len(first.given) + len(second.given) == 200
    assert 20 < len(first.given) < 90


def test_a_route_to_nobody_is_a_dead_letter_that_says_so(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    routes.replace(connection, tenant, Channel.EMAIL, [("retired", 0, 1)])
    connection.commit()
    worker, _, _ = pair(configured, accept)
    to_addresses(connection, tenant, 2)
    run_all(database, worker)
    assert database.statuses() == {"failed": 2}
    assert database.one("SELECT DISTINCT code FROM notifier.dead_letters") == "no_provider"


def test_what_nobody_carries_is_a_dead_letter_until_somebody_does(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to_addresses(connection, tenant, 2)
    run_all(database, Worker(dict.fromkeys(Channel, ()), configured))
    assert database.statuses() == {"failed": 2}
    assert database.query("SELECT DISTINCT code, reason FROM notifier.dead_letters") == [
        ("no_provider", "no provider is configured for email")
    ]
    assert replay(code="no_provider") == 2
    run_all(database, Worker(dict.fromkeys(Channel, (First(accept),)), configured))
    assert database.statuses() == {"sent": 2}


def test_what_nobody_carries_waits_while_its_channel_is_paused(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """Whoever changes carriers pauses the channel, and has none for a while."""
    made = pause(connection, channel=Channel.EMAIL)
    to_addresses(connection, tenant, 2)
    run_all(database, Worker(dict.fromkeys(Channel, ()), configured))
    assert database.statuses() == {"queued": 2}
    with database.pool.begin() as writer:
        pauses.end(writer, None, made, None)
    run_all(database, Worker(dict.fromkeys(Channel, (First(accept),)), configured))
    assert database.statuses() == {"sent": 2}


def test_one_tenants_route_takes_no_turn_from_anothers(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """In one chunk, which goes through the provider that both may take."""
    other = audience.create_tenant(connection, "other")
    routes.replace(connection, tenant, Channel.EMAIL, [("first", 0, 1)])
    connection.commit()
    worker, first, second = pair(configured, fail)
    in_one_chunk(database, connection, {tenant: 1, other: 1})
    run_all(database, worker)
    assert len(first.given) == 2
    assert [message.tenant_id for message in second.given] == [other]
    assert database.statuses() == {"sent": 1, "retrying": 1}
