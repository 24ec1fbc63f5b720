"""Several providers of a channel: who takes over, what is never sent twice, and the way back."""

import time
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from notifier import breaker, queue, reconcile
from notifier.breaker import Breakers, State
from notifier.channels.contract import Message
from notifier.outcome import NotFound, Outcome, Rejected, RetryLater, Unsure
from notifier.replay import replay
from notifier.settings import Settings
from notifier.store import audience, pauses, routes
from notifier.words import Channel
from notifier.worker import Worker
from tests.conftest import Database, forget
from tests.engine import (
    Died,
    Scripted,
    accept,
    configured,
    due_now,
    journal,
    lapse,
    run_due,
    sound,
    to_addresses,
)

__all__ = ["configured", "sound"]

Say = Callable[[Message], Outcome]


class First(Scripted):
    """The one that is tried first."""

    name = "first"


class Second(Scripted):
    """The one that stands by."""

    name = "second"


@pytest.fixture(autouse=True)
def closed(database: Database) -> None:
    """No breaker of another test."""
    assert database.redis_url
    for key in queue.redis().keys("notifier.breaker.*"):
        queue.redis().delete(key)


def pair(configured: Settings, first: Say, second: Say = accept) -> tuple[Worker, First, Second]:
    chain = First(first, NotFound()), Second(second, NotFound())
    return Worker(dict.fromkeys(Channel, chain), configured), *chain


def fail(_: Message) -> Outcome:
    return RetryLater("503", "service unavailable")


def sent_through(database: Database) -> dict[str, int]:
    rows = database.query(
        "SELECT provider, count(*) FROM notifier.notification_deliveries GROUP BY provider"
    )
    return {row[0]: row[1] for row in rows}


def run_all(database: Database, worker: Worker) -> int:
    """Deliver until nothing is due at this moment; how many dispatches that took."""
    rounds = 0
    while count := run_due(database, worker):
        rounds += count
        assert rounds < 100
    return rounds


def test_a_failure_is_followed_by_the_other_provider_at_once(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    worker, first, second = pair(configured, fail)
    to_addresses(connection, tenant, 3)
    run_all(database, worker)
    assert database.statuses() == {"sent": 3}
    assert sent_through(database) == {"second": 3}
    assert (len(first.given), len(second.given)) == (3, 3)
    assert {m.attempt for m in second.given} == {2}, "it is the same delivery's next attempt"
    moves = [("queued", "retrying")] * 3 + [("retrying", "sent")] * 3
    assert journal(database) == moves


def test_when_all_have_had_their_turn_the_retry_policy_waits(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    worker, first, second = pair(configured, fail, fail)
    to_addresses(connection, tenant, 1)
    assert run_all(database, worker) == 2
    assert database.statuses() == {"retrying": 1}
    wait = database.one("SELECT extract(epoch FROM min(due_at) - now()) FROM notifier.dispatches")
    assert wait > 10
    due_now(database)
    run_all(database, worker)
    assert [len(first.given), len(second.given)] == [2, 2]


def test_what_may_have_gone_out_is_never_given_to_the_other(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    worker, first, second = pair(configured, lambda _: Unsure("no answer"))
    to_addresses(connection, tenant, 2)
    for _ in range(3):
        run_all(database, worker)
        due_now(database)
    assert len(first.given) > 2
    assert second.given == []


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


def test_a_rejected_one_is_not_tried_elsewhere(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    worker, _, second = pair(configured, lambda _: Rejected("550", "no such user"))
    to_addresses(connection, tenant, 2)
    run_all(database, worker)
    assert database.statuses() == {"failed": 2}
    assert second.given == []


def test_the_work_of_a_dead_worker_stays_with_its_provider(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """Though its breaker opens meanwhile: what it had in hand may have gone out."""

    def die(_: Message) -> Outcome:
        raise Died

    worker, first, second = pair(configured, die)
    to_addresses(connection, tenant, 4)
    with pytest.raises(Died):
        run_due(database, worker)
    lapse(database)
    breaker.note("first", 0, breaker.LEAST)
    worker, first, second = pair(configured, accept)
    run_due(database, worker)
    assert (first.given, second.given) == ([], []), "it waits for its provider"
    later = Worker(worker.providers, configured)
    queue.redis().delete("notifier.breaker.first")
    due_now(database)
    run_all(database, later)
    due_now(database)
    run_all(database, later)
    assert database.statuses() == {"sent": 4}
    assert (len(first.given), second.given) == (4, [])


def test_an_sms_that_never_arrived_may_go_through_the_other(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    worker, first, second = pair(configured, lambda _: Unsure("no answer"))
    to_addresses(connection, tenant, 1, "sms")
    run_due(database, worker)
    (dispatch,) = database.query("SELECT id FROM notifier.dispatches WHERE kind = 'reconcile'")
    reconcile.reconcile(dispatch.id, worker)
    run_all(database, worker)
    assert database.statuses() == {"sent": 1}
    assert (len(first.given), len(second.given)) == (1, 1)


def test_a_provider_that_keeps_failing_is_left_alone_tried_again_and_taken_back(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    works = False
    worker, first, second = pair(configured, lambda m: accept(m) if works else fail(m))
    worker.breakers = Fresh()
    clock = Clock(monkeypatch)
    to_addresses(connection, tenant, 10)
    run_all(database, worker)
    assert len(first.given) == 10
    assert database.one("SELECT kind FROM notifier.admin_system_events") == "breaker_opened"

    to_addresses(connection, tenant, 10)
    run_all(database, worker)
    assert len(first.given) == 10, "its breaker is open"
    assert len(second.given) == 20
    assert database.statuses() == {"sent": 20}

    # One is let through, fails and goes on through the other; then it rests for longer.
    clock.pass_by(breaker.FIRST_REST + 1)
    to_addresses(connection, tenant, 10)
    run_all(database, worker)
    assert (len(first.given), len(second.given)) == (11, 30)
    clock.pass_by(breaker.FIRST_REST + 1)
    to_addresses(connection, tenant, 10)
    run_all(database, worker)
    assert len(first.given) == 11

    works = True
    clock.pass_by(breaker.FIRST_REST + 1)
    to_addresses(connection, tenant, 10)
    run_all(database, worker)
    assert len(first.given) == 21, "one showed that it works, and it has its place again"
    to_addresses(connection, tenant, 10)
    run_all(database, worker)
    assert len(first.given) == 31
    assert database.statuses() == {"sent": 60}
    kinds = database.query("SELECT kind FROM notifier.admin_system_events ORDER BY id")
    assert [row[0] for row in kinds] == ["breaker_opened", "breaker_opened", "breaker_closed"]


class Fresh(Breakers):
    """Believes nothing it has read before."""

    def state(self, provider: str) -> State:
        self._read.clear()
        return super().state(provider)


class Clock:
    """The breakers' clock, put forward by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        monkeypatch.setattr(breaker, "_now", lambda: time.time() + self._ahead)

    def pass_by(self, seconds: float) -> None:
        self._ahead += seconds


def test_a_few_failures_among_many_open_nothing(database: Database) -> None:
    assert breaker.note("first", 100, 20) == ""
    assert breaker.note("first", 0, breaker.LEAST - 1) == ""
    assert breaker.ask("first") is State.CLOSED
    assert breaker.note("second", 0, breaker.LEAST - 1) == ""
    assert breaker.note("second", 0, 1) == "opened", "told once, to whoever opened it"
    assert breaker.note("second", 0, 1) == ""
    assert breaker.ask("second") is State.OPEN


def test_one_worker_alone_has_the_trial(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    breaker.note("first", 0, breaker.LEAST)
    clock.pass_by(breaker.FIRST_REST + 1)
    assert [breaker.ask("first") for _ in range(3)] == [State.TRIAL, State.OPEN, State.OPEN]
    # It died with it: another is let through in time.
    clock.pass_by(breaker.TRIAL + 1)
    assert breaker.ask("first") is State.TRIAL
    assert breaker.note("first", 1, 0) == "closed"
    assert breaker.ask("first") is State.CLOSED


def test_without_redis_every_breaker_is_closed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFIER_REDIS_URL", "redis://127.0.0.1:9/0")
    forget()
    assert breaker.note("first", 0, 100) == ""
    assert breaker.ask("first") is State.CLOSED


def test_a_provider_that_is_given_too_much_is_not_held_for_broken(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    worker, first, _ = pair(configured, lambda _: RetryLater("1", "too fast", throttled=True))
    to_addresses(connection, tenant, 2 * breaker.LEAST)
    run_all(database, worker)
    assert database.statuses() == {"sent": 2 * breaker.LEAST}, "by the other, at once"
    assert breaker.ask("first") is State.CLOSED
    to_addresses(connection, tenant, 2 * breaker.LEAST)
    first.say = accept
    run_all(database, worker)
    assert len(first.given) == 4 * breaker.LEAST


def pause(
    connection: Connection, *, channel: Channel | None = None, provider: str | None = None
) -> uuid.UUID:
    made = pauses.begin(
        connection,
        tenant=None,
        channel=channel,
        provider=provider,
        event_type=None,
        reason="maintenance",
        actor=None,
        until=None,
    )
    connection.commit()
    return made


def due_in(database: Database) -> float:
    """Seconds until the only dispatch is due."""
    return float(
        database.one(
            "SELECT extract(epoch FROM due_at - clock_timestamp()) FROM notifier.dispatches"
        )
    )


@pytest.mark.parametrize("other", ["not of the route", "paused"])
def test_only_a_provider_that_may_be_taken_makes_the_next_attempt_come_at_once(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    other: str,
) -> None:
    if other == "paused":
        pause(connection, provider="second")
    else:
        routes.replace(connection, tenant, Channel.EMAIL, [("first", 0, 1)])
    connection.commit()
    wait = timedelta(seconds=100)
    worker, first, second = pair(configured, lambda _: RetryLater("429", "slow down", wait))
    to_addresses(connection, tenant, 1)
    run_all(database, worker)
    assert (len(first.given), second.given) == (1, [])
    assert due_in(database) > 90


def test_a_doubt_is_not_put_to_a_provider_that_it_did_not_go_through(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """It would know nothing of it, and the message would go out again."""
    worker, _, _ = pair(configured, lambda _: Unsure("no answer"))
    to_addresses(connection, tenant, 1, "sms")
    run_due(database, worker)
    dispatch = database.one("SELECT id FROM notifier.dispatches WHERE kind = 'reconcile'")
    second = Second(accept, NotFound())
    for seconds, status in ((3600, "sending"), (0, "unknown")):
        settings = configured.model_copy(update={"doubt_seconds": seconds})
        left = Worker(dict.fromkeys(Channel, (second,)), settings)
        due_now(database)
        reconcile.reconcile(dispatch, left)
        run_all(database, left)
        assert database.statuses() == {status: 1}
    assert second.given == []


def test_a_tenants_own_route_is_taken(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    """In one chunk with another tenant's, who has none."""
    other = audience.create_tenant(connection, "other")
    routes.replace(connection, tenant, Channel.EMAIL, [("second", 0, 1)])
    connection.commit()
    worker, first, second = pair(configured, accept)
    to_addresses(connection, tenant, 3)
    to_addresses(connection, other, 2)
    with database.pool.begin() as packer:
        packer.exec_driver_sql("SELECT notifier.pack()")
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 1
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
    to_addresses(connection, tenant, 1)
    to_addresses(connection, other, 1)
    with database.pool.begin() as packer:
        packer.exec_driver_sql("SELECT notifier.pack()")
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 1
    run_all(database, worker)
    assert len(first.given) == 2
    assert [message.tenant_id for message in second.given] == [other]
    assert database.statuses() == {"sent": 1, "retrying": 1}


def test_alone_a_provider_is_tried_whatever_its_breaker_says(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    breaker.note("first", 0, 100)
    only = First(accept)
    to_addresses(connection, tenant, 2)
    run_all(database, Worker(dict.fromkeys(Channel, (only,)), configured))
    assert len(only.given) == 2
