"""Connections to accounts at vendors: sealed, refreshed once and in time, and over when the vendor says."""

import json
import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import structlog
from cryptography.fernet import Fernet
from sqlalchemy import Connection

from notifier import connections, pauses, upkeep
from notifier.cli import main
from notifier.errors import NotFoundError
from notifier.outcome import RetryLater
from notifier.settings import Settings
from notifier.store import audience
from notifier.store.tenancy import transaction
from notifier.worker import Worker
from tests.conftest import Database, forget
from tests.courier import Courier, connect_account, found
from tests.engine import configured, due_now, run_due, sound, to, to_addresses, worker
from tests.vendors.oauth import AuthorizationServer, query_of
from tests.vendors.server import Said

__all__ = ["configured", "sound"]


@pytest.fixture
def server() -> Iterator[AuthorizationServer]:
    with AuthorizationServer() as running:
        yield running


@pytest.fixture
def courier(
    database: Database, monkeypatch: pytest.MonkeyPatch, server: AuthorizationServer
) -> Iterator[Courier]:
    monkeypatch.setenv("NOTIFIER_SECRET_KEYS", Fernet.generate_key().decode())
    monkeypatch.setenv("NOTIFIER_PUBLIC_URL", "https://notify.example.org")
    forget()
    made = Courier(server.oauth())
    found(monkeypatch, made)
    yield made
    assert made.oauth is not None
    made.oauth.close()


@pytest.fixture
def sender(courier: Courier, configured: Settings) -> Worker:
    return worker(configured, courier)


def ends_in(database: Database, seconds: float) -> None:
    """Have every access token be good for so long still, and nobody be at refreshing it."""
    with database.pool.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE notifier.connections SET refreshing_until = NULL, "
            "updated_at = clock_timestamp() - interval '12 hours', "
            "expires_at = clock_timestamp() + make_interval(secs => %s)",
            (seconds,),
        )
    connections._known.clear()


def kept(database: Database) -> list[tuple[Any, ...]]:
    """The connections: whether each is active, and has an access and a refresh token."""
    rows = database.query(
        "SELECT status, access_token IS NOT NULL, refresh_token IS NOT NULL "
        "FROM notifier.connections ORDER BY id"
    )
    return [tuple(row) for row in rows]


def asked(server: AuthorizationServer, grant_type: str) -> int:
    """How often the vendor was asked for tokens so."""
    requests = [each for each in server.asked if each.path == server.token_path]
    return sum(each.form["grant_type"] == grant_type for each in requests)


def test_a_tenants_messages_carry_the_token_of_its_own_account(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    server: AuthorizationServer,
    courier: Courier,
    sender: Worker,
) -> None:
    other = audience.create_tenant(connection, "other")
    third = audience.create_tenant(connection, "third")
    connection.commit()
    for whose, account in ((tenant, "T1"), (other, "T2")):
        connect_account(server, courier, whose, account)
    for whose in (tenant, other, third):
        to_addresses(connection, whose, 2)
    run_due(database, sender)
    tokens = {message.tenant_id: message.token for message in courier.given}
    assert len(courier.given) == 6
    assert str(tokens[tenant]).startswith("access-T1-")
    assert str(tokens[other]).startswith("access-T2-")
    assert tokens[third] is None
    assert not any(secret in repr(courier.given) for secret in server.given)
    assert database.one("SELECT count(last_used_at) FROM notifier.connections") == 2


def test_a_provider_that_nobody_connects_to_costs_no_look(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "token", lambda *_: pytest.fail("it was asked for"))
    to_addresses(connection, tenant, 2)
    run_due(database, worker(configured))
    assert database.statuses() == {"sent": 2}


def test_a_token_is_believed_for_seconds_and_then_looked_up(
    tenant: uuid.UUID,
    server: AuthorizationServer,
    courier: Courier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect_account(server, courier, tenant)
    looks: list[str] = []
    look_up = connections._look_up

    def counted(*given: Any) -> Any:
        looks.append("look")
        return look_up(*given)

    monkeypatch.setattr(connections, "_look_up", counted)
    assert len({connections.token(tenant, courier) for _ in range(5)}) == 1
    assert len(looks) == 1
    monkeypatch.setattr(connections, "BELIEVED", 0.0)
    connections._known.clear()
    assert len({connections.token(tenant, courier) for _ in range(5)}) == 1
    assert len(looks) == 6


def test_what_is_kept_is_sealed(
    database: Database, tenant: uuid.UUID, server: AuthorizationServer, courier: Courier
) -> None:
    connect_account(server, courier, tenant)
    ends_in(database, 60)
    connections.token(tenant, courier)
    assert len(server.given) == 7, "state, code, verifier and twice two tokens"
    for table in ("connections", "pending_connections", "admin_system_events"):
        rows = database.query(f"SELECT x::text FROM notifier.{table} x")
        assert not any(secret in row[0] for row in rows for secret in server.given)


def test_a_token_copied_to_another_tenant_or_row_does_not_open(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    server: AuthorizationServer,
    courier: Courier,
    sender: Worker,
) -> None:
    other = audience.create_tenant(connection, "other")
    connection.commit()
    connect_account(server, courier, tenant, "T1")
    connect_account(server, courier, other, "T2")
    with database.pool.begin() as thief:
        thief.exec_driver_sql(
            "UPDATE notifier.connections c SET access_token = v.access_token "
            "FROM notifier.connections v WHERE c.tenant_id = %s AND v.tenant_id = %s",
            (other, tenant),
        )
    to_addresses(connection, other, 2)
    with structlog.testing.capture_logs() as logs:
        run_due(database, sender)
    assert courier.given == []
    assert database.statuses() == {"queued": 2}, "they wait, and nothing was counted against them"
    (told,) = [entry for entry in logs if entry["event"] == "not_opened"]
    assert told["why"] == "it was sealed for another tenant, row or purpose"
    # Nor in a new row of the same tenant's, which has another id.
    with database.pool.begin() as thief:
        thief.exec_driver_sql("DELETE FROM notifier.connections WHERE tenant_id = %s", (other,))
        thief.exec_driver_sql("UPDATE notifier.connections SET id = notifier.new_id()")
    connections._known.clear()
    with pytest.raises(connections.NotNow):
        connections.token(tenant, courier)


def test_a_token_is_refreshed_minutes_before_it_ends(
    database: Database, tenant: uuid.UUID, server: AuthorizationServer, courier: Courier
) -> None:
    connect_account(server, courier, tenant)
    first = connections.token(tenant, courier)
    ends_in(database, 310)
    assert connections.token(tenant, courier) == first
    assert server.refreshes == 0
    ends_in(database, 290)
    second = connections.token(tenant, courier)
    assert second not in (None, first)
    assert server.refreshes == 1
    left = database.one("SELECT extract(epoch FROM expires_at - now()) FROM notifier.connections")
    assert 43_100 < left < 43_201
    # Each refresh token was good once: the next refresh goes with the new one.
    ends_in(database, -60)
    assert connections.token(tenant, courier) not in (first, second)
    assert server.refreshes == 2


def test_a_token_of_minutes_is_refreshed_when_half_of_them_are_over(
    database: Database, tenant: uuid.UUID, server: AuthorizationServer, courier: Courier
) -> None:
    server.lasts = 120
    connect_account(server, courier, tenant)
    connections.token(tenant, courier)
    assert server.refreshes == 0
    with database.pool.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE notifier.connections SET updated_at = updated_at - interval '61 s', "
            "expires_at = expires_at - interval '61 s'"
        )
    connections._known.clear()
    connections.token(tenant, courier)
    assert server.refreshes == 1


@pytest.mark.parametrize(("left", "others"), [(120, "use the old token"), (-1, "wait")])
def test_twenty_at_once_refresh_once(
    database: Database,
    tenant: uuid.UUID,
    server: AuthorizationServer,
    courier: Courier,
    left: int,
    others: str,
) -> None:
    connect_account(server, courier, tenant)
    old = connections.token(tenant, courier)
    ends_in(database, left)
    server.latency = 0.5
    barrier = threading.Barrier(20)
    answers: list[str | None] = []

    def work() -> None:
        barrier.wait()
        try:
            # Each as if it were a process of its own, which has looked nothing up.
            answers.append(connections._look_up(tenant, courier))
        except connections.NotNow:
            answers.append("not now")

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert asked(server, "refresh_token") == 1
    server.latency = 0
    new = connections.token(tenant, courier)
    assert new is not None
    assert new != old
    allowed = {new, old} if others == "use the old token" else {new, "not now"}
    assert len(answers) == 20
    assert set(answers) <= allowed
    assert new in answers
    assert kept(database) == [("active", True, True)]


def test_a_vendor_that_gives_no_new_refresh_token_leaves_the_old_one(
    database: Database, tenant: uuid.UUID, server: AuthorizationServer, courier: Courier
) -> None:
    connect_account(server, courier, tenant)
    server.after = lambda _: Said(200, {"access_token": "another", "expires_in": "60"})
    for _ in range(2):
        ends_in(database, 10)
        assert connections.token(tenant, courier) == "another"
    forms = [each.form for each in server.asked if each.path == server.token_path]
    assert len({form["refresh_token"] for form in forms if "refresh_token" in form}) == 1


def test_a_vendor_out_of_reach_ends_nothing(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    server: AuthorizationServer,
    courier: Courier,
    sender: Worker,
) -> None:
    connect_account(server, courier, tenant)
    old = connections.token(tenant, courier)
    server.before = lambda _: Said(503, {"error": "invalid_grant"})
    ends_in(database, 60)
    assert connections.token(tenant, courier) == old, "it is good for a minute"
    connections._known.clear()
    assert connections.token(tenant, courier) == old
    assert asked(server, "refresh_token") == 1, "the next try waits"
    to_addresses(connection, tenant, 3)
    ends_in(database, -1)
    run_due(database, sender)
    assert courier.given == []
    assert database.statuses() == {"queued": 3}
    wait = database.one("SELECT extract(epoch FROM due_at - now()) FROM notifier.dispatches")
    assert 5 < wait <= 10
    assert kept(database) == [("active", True, True)]
    server.before = lambda _: None
    ends_in(database, -1)
    due_now(database)
    run_due(database, sender)
    assert database.statuses() == {"sent": 3}
    assert {message.attempt for message in courier.given} == {1}, "to wait is no attempt"
    assert all(server.is_good(str(message.token)) for message in courier.given)


def test_a_wrong_secret_of_ours_ends_no_tenants_connection(
    database: Database, tenant: uuid.UUID, server: AuthorizationServer, courier: Courier
) -> None:
    connect_account(server, courier, tenant)
    assert courier.oauth is not None
    courier.oauth._client_secret = "another"
    ends_in(database, -1)
    with pytest.raises(connections.NotNow):
        connections.token(tenant, courier)
    assert kept(database) == [("active", True, True)]


def test_what_the_vendor_has_ended_waits_until_the_account_is_connected_again(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    server: AuthorizationServer,
    courier: Courier,
    sender: Worker,
) -> None:
    connect_account(server, courier, tenant)
    server.end_all()
    ends_in(database, 60)
    to(connection, tenant, ["ada", "bob"])
    run_due(database, sender)
    assert courier.given == []
    assert kept(database) == [("revoked", False, False)]
    ((severity, kind, whose, message),) = database.query(
        "SELECT severity, kind, tenant_id, message FROM notifier.admin_system_events "
        "WHERE kind <> 'paused'"
    )
    assert (severity, kind, whose) == ("high", "connection_revoked", tenant)
    assert message == (
        "courier has ended the connection (invalid_grant): connect the account again"
    )
    with database.pool.connect() as reader:
        (pause,) = pauses.active(reader)
    assert (pause.tenant_id, pause.channel, pause.provider) == (tenant, "email", "courier")
    assert pause.reason == message
    # A worker whose window began before the pause sends nothing without it, either.
    with pytest.raises(connections.NotNow):
        connections.token(tenant, courier)
    due_now(database)
    run_due(database, sender)
    assert database.statuses() == {"queued": 2}
    assert database.one("SELECT count(*) FROM notifier.dispatches WHERE pause_id IS NOT NULL") == 1
    connect_account(server, courier, tenant)
    connections._known.clear()
    with database.pool.connect() as reader:
        assert pauses.active(reader) == []
    run_due(database, sender)
    assert database.statuses() == {"sent": 2}
    assert kept(database) == [("revoked", False, False), ("active", True, True)]


def test_a_token_refused_while_sending_ends_the_connection(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    server: AuthorizationServer,
    courier: Courier,
    sender: Worker,
) -> None:
    server.lasts = None
    connect_account(server, courier, tenant)
    courier.say = lambda _: RetryLater("busy", "something else")
    to(connection, tenant, ["ada", "bob"])
    run_due(database, sender)
    assert kept(database) == [("active", True, False)]
    connections.refused(tenant, courier, "a token from before the last refresh", "invalid_grant")
    assert kept(database) == [("active", True, False)]
    courier.say = lambda _: RetryLater("invalid_grant", "the token was revoked")
    due_now(database)
    run_due(database, sender)
    assert kept(database) == [("revoked", False, False)]
    assert len(database.query("SELECT id FROM notifier.pauses")) == 1
    sent = len(courier.given)
    due_now(database)
    run_due(database, sender)
    assert database.statuses() == {"retrying": 2}
    assert len(courier.given) == sent, "they wait"


def test_tokens_that_come_after_a_new_connection_are_not_kept(
    database: Database, tenant: uuid.UUID, server: AuthorizationServer, courier: Courier
) -> None:
    connect_account(server, courier, tenant)
    ends_in(database, 60)

    def meanwhile(_: object) -> None:
        server.before = lambda _: None
        connect_account(server, courier, tenant)

    server.before = meanwhile
    answer = None
    with suppress(connections.NotNow):
        answer = connections.token(tenant, courier)
    assert answer is None
    assert server.refreshes == 1
    newest = server.accounts[-1].access
    assert {connections.token(tenant, courier)} == newest
    assert kept(database) == [("active", True, True)]


def test_another_account_takes_the_place_of_the_first(
    database: Database, tenant: uuid.UUID, server: AuthorizationServer, courier: Courier
) -> None:
    assert courier.oauth is not None
    read = courier.oauth.read
    # As Slack does it, with the account in the answer.
    courier.oauth.read = lambda answer: named(read(answer))  # type: ignore[method-assign]

    def named(grant: Any) -> Any:
        object.__setattr__(grant, "account_id", server.account)
        return grant

    connect_account(server, courier, tenant, "T1")
    connect_account(server, courier, tenant, "T1")
    assert kept(database) == [("active", True, True)]
    first, again = server.accounts
    assert first.access
    assert again.access
    connect_account(server, courier, tenant, "T2")
    assert kept(database) == [("revoked", False, False), ("active", True, True)]
    rows = database.query("SELECT account_id FROM notifier.connections ORDER BY id")
    assert [row[0] for row in rows] == ["T1", "T2"]
    assert not again.access, "the vendor was told"
    assert server.is_good(str(connections.token(tenant, courier)))


def test_a_state_works_once_for_its_provider_and_for_minutes(
    database: Database,
    tenant: uuid.UUID,
    server: AuthorizationServer,
    courier: Courier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def state() -> str:
        with transaction(tenant) as connection:
            begun = connections.begin(connection, tenant, courier)
        return query_of(begun.authorize_url)["state"]

    class Other(Courier):
        name = "other"

    good = state()
    assert courier.oauth is not None
    assert connections.use(Other(courier.oauth), good) is None
    uses: list[object] = []
    threads = [
        threading.Thread(target=lambda: uses.append(connections.use(courier, good)))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(use is not None for use in uses) == 1
    assert connections.use(courier, good) is None
    late = state()
    with database.pool.begin() as connection:
        ((wait,),) = connection.exec_driver_sql(
            "SELECT extract(epoch FROM expires_at - created_at) "
            "FROM notifier.pending_connections WHERE used_at IS NULL"
        )
        connection.exec_driver_sql("UPDATE notifier.pending_connections SET expires_at = now()")
    assert 600 <= wait < 601
    for bad in (late, "", "x" * 43, good + "x", "é" * 43):
        assert connections.use(courier, bad) is None


def test_states_that_nobody_used_are_forgotten_in_time(
    database: Database, tenant: uuid.UUID, courier: Courier
) -> None:
    for _ in range(2):
        with transaction(tenant) as connection:
            connections.begin(connection, tenant, courier)
    with database.pool.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE notifier.pending_connections SET expires_at = now() - interval '2 days' "
            "WHERE id = (SELECT min(id::text)::uuid FROM notifier.pending_connections)"
        )
    upkeep.upkeep()
    assert database.one("SELECT count(*) FROM notifier.pending_connections") == 1


def test_no_token_code_state_or_verifier_is_in_any_log(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    server: AuthorizationServer,
    courier: Courier,
    sender: Worker,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logs:
        connect_account(server, courier, tenant)
        to_addresses(connection, tenant, 2)
        run_due(database, sender)
        ends_in(database, 60)
        connections.token(tenant, courier)
        server.before = lambda _: Said(500, {"error": "x"}, cut=True)
        ends_in(database, 60)
        connections.token(tenant, courier)
        server.before = lambda _: None
        server.end_all()
        ends_in(database, 60)
        to_addresses(connection, tenant, 2)
        run_due(database, sender)
        assert main(["connections", "list", "--json"]) == 0
    events = {entry["event"] for entry in logs}
    assert {"connected", "refreshed", "not_refreshed", "connection_revoked", "no_token"} <= events
    printed = capsys.readouterr()
    text = json.dumps(logs, default=str) + caplog.text + printed.out + printed.err
    assert len(server.given) == 7
    assert not [secret for secret in server.given if secret in text]


def test_connections_are_listed_and_revoked_on_the_command_line(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    server: AuthorizationServer,
    courier: Courier,
    capsys: pytest.CaptureFixture[str],
) -> None:
    audience.create_tenant(connection, "other")
    connection.commit()
    assert main(["connections", "list"]) == 0
    assert capsys.readouterr().out.endswith("there are none\n")
    connect_account(server, courier, tenant)
    assert main(["connections", "list", "--tenant", "acme", "--json"]) == 0
    (shown,) = json.loads(capsys.readouterr().out.splitlines()[-1])["connections"]
    assert (shown["provider"], shown["status"]) == ("courier", "active")
    assert main(["connections", "list", "--tenant", "other"]) == 0
    assert capsys.readouterr().out.endswith("there are none\n")
    assert main(["connections", "revoke", shown["id"], "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told == {"revoked": shown["id"], "at_vendor": True}
    assert not server.accounts[0].access
    assert kept(database) == [("revoked", False, False)]
    assert main(["connections", "revoke", shown["id"]]) == 2
    assert "connection: expected the id of a connection that is active" in capsys.readouterr().err
    assert connections.token(tenant, courier) == "", "its own choice: nothing waits for it"
    assert database.query("SELECT id FROM notifier.pauses") == []


def test_a_connection_is_forgotten_though_its_vendor_does_not_answer(
    database: Database, tenant: uuid.UUID, server: AuthorizationServer, courier: Courier
) -> None:
    connect_account(server, courier, tenant)
    server.before = lambda _: Said(0, cut=True)
    row = database.one("SELECT id FROM notifier.connections")
    with database.pool.begin() as connection:
        ended = connections.end(connection, row)
    assert connections.tell_vendor(ended, {"courier": courier}) is False
    assert connections.tell_vendor(ended, {}) is False
    with database.pool.begin() as connection, pytest.raises(NotFoundError):
        connections.end(connection, row)
    assert not any(secret in repr(ended) for secret in server.given)
