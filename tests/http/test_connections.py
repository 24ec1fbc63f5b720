"""A tenant connects an account: the address, the page people are sent back to, and the list."""

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
import requests
import structlog

from notifier import connections
from notifier.settings import settings
from tests.conftest import Database
from tests.courier import Courier, found
from tests.http.conftest import Client, problem
from tests.vendors.oauth import SCOPES, AuthorizationServer, query_of
from tests.vendors.server import Said


@pytest.fixture
def server() -> Iterator[AuthorizationServer]:
    with AuthorizationServer() as running:
        yield running


@pytest.fixture(autouse=True)
def courier(
    database: Database, monkeypatch: pytest.MonkeyPatch, server: AuthorizationServer
) -> Iterator[Courier]:
    """Configured before the API looks for its providers."""
    assert database
    made = Courier(server.oauth())
    found(monkeypatch, made)
    yield made
    assert made.oauth is not None
    made.oauth.close()


def begun(acme: Client, server: AuthorizationServer) -> str:
    """Where whoever owns the account is to go."""
    server.redirect_uris.add(f"{acme.url}/oauth/courier/callback")
    response = acme("POST", "/v1/connections/courier")
    assert response.status_code == 201, response.text
    address: str = response.json()["authorize_url"]
    return address


def comes_back(where: str) -> requests.Response:
    return requests.get(where, timeout=30)


def rows(database: Database) -> int:
    count: int = database.one("SELECT count(*) FROM notifier.connections")
    return count


def test_an_account_is_connected_listed_and_disconnected(
    acme: Client, other: Client, server: AuthorizationServer
) -> None:
    address = begun(acme, server)
    assert address.startswith(f"{server.url}/authorize?")
    page = comes_back(server.consent(address))
    assert page.status_code == 200
    assert "<h1>Connected</h1>" in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "Set-Cookie" not in page.headers
    listing = acme("GET", "/v1/connections")
    (shown,) = listing.json()["connections"]
    assert (shown["provider"], shown["status"], shown["scopes"]) == (
        "courier",
        "active",
        list(SCOPES),
    )
    assert shown["expires_at"] is not None
    assert not [s for s in server.given if s in listing.text + page.text]
    (token,) = server.accounts[0].access
    assert other("GET", "/v1/connections").json() == {"connections": []}
    problem(other("DELETE", f"/v1/connections/{shown['id']}"), 404, "not_found", "connection")
    assert server.is_good(token)
    ended = acme("DELETE", f"/v1/connections/{shown['id']}")
    assert ended.json() == {"at_vendor": True}
    assert not server.is_good(token)
    (after,) = acme("GET", "/v1/connections").json()["connections"]
    assert after["status"] == "revoked"
    problem(acme("DELETE", f"/v1/connections/{shown['id']}"), 404, "not_found", "connection")
    problem(acme("DELETE", f"/v1/connections/{uuid.uuid4()}"), 404, "not_found", "connection")


def test_a_state_that_was_used_is_refused(
    database: Database, acme: Client, server: AuthorizationServer
) -> None:
    where = server.consent(begun(acme, server))
    assert comes_back(where).status_code == 200
    asked = len(server.asked)
    again = comes_back(where)
    assert again.status_code == 400
    assert "does not work" in again.text
    # Nor with a code that is good.
    fresh = query_of(server.consent(begun(acme, server)))["code"]
    state = query_of(where)["state"]
    assert (
        comes_back(f"{acme.url}/oauth/courier/callback?state={state}&code={fresh}").status_code
        == 400
    )
    assert len(server.asked) == asked + 1, "only the consent: the vendor is not asked"
    assert rows(database) == 1


def test_of_twenty_who_come_back_at_once_one_is_connected(
    database: Database, acme: Client, server: AuthorizationServer
) -> None:
    where = server.consent(begun(acme, server))
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(comes_back(where).status_code))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == [200] + [400] * 19
    assert rows(database) == 1
    assert server.accounts[0].access, "no code was used twice"


@pytest.mark.parametrize(
    "query",
    ["", "state=", "state=x&code=y", "code=y", "state=%00&code=y", f"state={'A' * 43}&code=y"],
)
def test_a_state_that_is_none_of_ours_is_refused(
    database: Database, acme: Client, server: AuthorizationServer, query: str
) -> None:
    answer = comes_back(f"{acme.url}/oauth/courier/callback?{query}")
    assert answer.status_code == 400
    assert "does not work" in answer.text
    assert server.asked == []
    assert rows(database) == 0


def test_a_state_that_is_too_old_is_refused(
    database: Database, acme: Client, server: AuthorizationServer
) -> None:
    where = server.consent(begun(acme, server))
    with database.pool.begin() as connection:
        connection.exec_driver_sql("UPDATE notifier.pending_connections SET expires_at = now()")
    assert comes_back(where).status_code == 400
    assert rows(database) == 0


def test_who_does_not_allow_it_is_told_so(
    database: Database, acme: Client, server: AuthorizationServer
) -> None:
    server.denies = "access_denied"
    where = server.consent(begun(acme, server))
    page = comes_back(where)
    assert page.status_code == 400
    assert "It was not allowed (access_denied)" in page.text
    assert comes_back(where).status_code == 400, "its state is used up"
    assert rows(database) == 0


def test_the_page_quotes_nothing_that_anybody_can_write(
    acme: Client, server: AuthorizationServer
) -> None:
    state = query_of(begun(acme, server))["state"]
    page = comes_back(f"{acme.url}/oauth/courier/callback?state={state}&error=<script>alert(1)")
    assert "script" not in page.text
    assert "It was not allowed (no reason given)" in page.text


@pytest.mark.parametrize(
    ("said", "named"),
    [
        (Said(400, {"error": "invalid_grant", "error_description": "<b>"}), "invalid_grant"),
        (Said(401, {"error": "invalid_client"}), "invalid_client"),
        (Said(500, b"<html>"), "http_500"),
        (Said(200, {"token_type": "Bearer"}), "no_access_token"),
        (Said(200, {"access_token": "a\r\nb"}), "no_access_token"),
        (Said(200, b"["), "no_access_token"),
        (Said(0, cut=True), "unreachable"),
    ],
)
def test_a_code_that_gets_no_token_is_an_error_with_a_name(
    database: Database, acme: Client, server: AuthorizationServer, said: Said, named: str
) -> None:
    where = server.consent(begun(acme, server))
    server.before = lambda _: said
    page = comes_back(where)
    assert page.status_code == 502
    assert f"no access was given ({named})" in page.text
    assert rows(database) == 0


def test_another_verifier_or_redirect_uri_gets_no_token(
    database: Database,
    acme: Client,
    server: AuthorizationServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = server.consent(begun(acme, server))
    redirect_uri = connections.redirect_uri
    monkeypatch.setattr(connections, "redirect_uri", lambda _: "https://elsewhere.example")
    assert comes_back(where).status_code == 502
    monkeypatch.setattr(connections, "redirect_uri", redirect_uri)
    theirs = query_of(server.consent(begun(acme, server)))
    ours = query_of(begun(acme, server))["state"]
    # A code that somebody else was given, with a state of ours: our verifier does not fit.
    stolen = f"{acme.url}/oauth/courier/callback?state={ours}&code={theirs['code']}"
    assert comes_back(stolen).status_code == 502
    assert rows(database) == 0


def test_a_provider_without_accounts_is_named(acme: Client) -> None:
    for name in ("smtp", "webhook", "pigeon"):
        refused = problem(acme("POST", f"/v1/connections/{name}"), 404, "not_found", "provider")
        assert refused["expected"] == "one that accounts can be connected to (courier)"
        assert comes_back(f"{acme.url}/oauth/{name}/callback?state=x").status_code == 404


def test_a_provider_that_is_not_configured_for_accounts_names_its_variables(acme: Client) -> None:
    refused = problem(acme("POST", "/v1/connections/slack"), 404, "not_found", "provider")
    assert refused["expected"] == (
        "one that accounts can be connected to (courier; "
        "slack needs NOTIFIER_SLACK_CLIENT_ID and NOTIFIER_SLACK_CLIENT_SECRET)"
    )


def test_without_a_key_nothing_is_begun(
    acme: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "notifier.sealing.settings", lambda: settings().model_copy(update={"secret_keys": ""})
    )
    answer = problem(acme("POST", "/v1/connections/courier"), 503, "not_configured")
    assert "NOTIFIER_SECRET_KEYS" in answer["detail"]
    assert database.one("SELECT count(*) FROM notifier.pending_connections") == 0


def test_no_token_code_state_or_verifier_is_logged(
    acme: Client, server: AuthorizationServer
) -> None:
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as logs:
        where = server.consent(begun(acme, server))
        comes_back(where)
        comes_back(where)
        where = server.consent(begun(acme, server))
        server.before = lambda _: Said(400, {"error": "invalid_grant"})
        comes_back(where)
        # An access line is written once the answer is out.
        deadline = time.monotonic() + 5
        while sum(e["event"] == "request" for e in logs) < 5 and time.monotonic() < deadline:
            time.sleep(0.005)
    text = json.dumps(logs, default=str)
    assert {"connected", "state_refused", "not_granted"} <= {entry["event"] for entry in logs}
    assert "/oauth/{provider}/callback" in text
    assert len(server.given) == 7, "two states, two codes, a verifier and two tokens"
    assert not [secret for secret in server.given if secret in text]
    assert not re.search(r"code=|state=", text)
