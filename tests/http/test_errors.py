"""Every refusal is a problem that names the field, and tells nobody what is not theirs."""

import json
import socket
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from notifier.http.gate import LARGEST_BATCH, LARGEST_BODY
from notifier.store import keys
from notifier.words import Channel
from tests.conftest import Database
from tests.http.conftest import Client, event, problem

COUNT = "SELECT count(*) FROM notifier.notification_events"


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (event(event_type="no.such"), 422, "unknown_event_type", "event_type"),
        (event(event_type=None), 422, "invalid_request", "event_type"),
        (event(event_type="a\0b"), 422, "invalid_value", "event_type"),
        (event(payload={}), 422, "invalid_payload", "payload.task"),
        (event(payload=[]), 422, "invalid_payload", "payload"),
        (event(payload={"task": {"title": "x\ud800"}}), 422, "invalid_value", "payload.task.title"),
        (event(payload={"x": "y" * 70_000}), 413, "payload_too_large", "payload"),
        (event(audience="everyone"), 422, "invalid_audience", "audience"),
        (event(audience={"topics": ["x"]}), 422, "unknown_topic", "audience.topics[0]"),
        (
            event(audience={"recipients": ["x"]}),
            422,
            "unknown_recipient",
            "audience.recipients[0]",
        ),
        (
            event(audience={"addresses": [{"channel": "email", "address": "x"}]}),
            422,
            "invalid_address",
            "audience.addresses[0].address",
        ),
        (event(lane="fast"), 422, "invalid_option", "lane"),
        (event(lane=5), 422, "invalid_option", "lane"),
        (event(scheduled_for="tomorrow"), 422, "invalid_option", "scheduled_for"),
        (event(scheduled_for="2027-01-01T09:00:00"), 422, "invalid_option", "scheduled_for"),
        (event(tenant="x"), 422, "invalid_request", "tenant"),
        (event(on_invalid="record"), 422, "invalid_request", "on_invalid"),
        ({"event_type": "task.due_soon"}, 422, "invalid_request", "payload"),
        ([], 422, "invalid_request", "body"),
        (5, 422, "invalid_request", "body"),
    ],
)
def test_a_refused_emit_names_the_field_and_writes_nothing(
    database: Database, acme: Client, body: Any, status: int, code: str, field: str
) -> None:
    problem(acme("POST", "/v1/events", body), status, code, field)
    assert database.one(COUNT) == 0


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"\xff\xfe", b'{"a": NaN}', b'{"a": 1e999}', b"[" * 90_000, b"9" * 5000],
    ids=["empty", "cut", "not-utf8", "nan", "infinite", "deep", "long-number"],
)
def test_what_is_not_json_is_a_400_on_every_route(acme: Client, raw: bytes) -> None:
    for method, path in (
        ("POST", "/v1/events"),
        ("POST", "/v1/events/batch"),
        ("POST", "/v1/recipients/batch"),
        ("PUT", "/v1/recipients/ada"),
    ):
        response = acme(method, path, data=raw, headers={"Content-Type": "application/json"})
        if raw or path.startswith("/v1/events"):
            problem(response, 400, "malformed_json", "body")
        else:
            problem(response, 422, "invalid_request", "body")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "field"),
    [
        ("GET", "/v1/events/not-a-uuid", None, 422, "invalid_request", "event_id"),
        ("GET", "/v1/deliveries/not-a-uuid", None, 422, "invalid_request", "delivery_id"),
        ("POST", "/v1/events/1/cancel", None, 422, "invalid_request", "event_id"),
        ("PUT", "/v1/recipients/a%00b", {}, 422, "invalid_request", "external_id"),
        ("GET", "/v1/recipients/a%0Ab", None, 422, "invalid_request", "external_id"),
        ("PUT", "/v1/recipients/ada", {"colour": 1}, 422, "invalid_request", "colour"),
        ("PUT", "/v1/recipients/ada", {"is_admin": "yes"}, 422, "invalid_request", "is_admin"),
        ("PUT", "/v1/recipients/ada", {"name": "a\0b"}, 422, "invalid_value", "name"),
        ("PUT", "/v1/recipients/ada", {"timezone": "Mars/X"}, 422, "invalid_value", "timezone"),
        (
            "PUT",
            "/v1/recipients/ada",
            {"contact_points": [{"channel": "pigeon", "address": "x"}]},
            422,
            "invalid_request",
            "contact_points[0].channel",
        ),
        (
            "PUT",
            "/v1/recipients/ada",
            {"contact_points": [{"channel": "sms", "address": "12"}]},
            422,
            "invalid_address",
            "contact_points[0].address",
        ),
        (
            "PUT",
            "/v1/recipients/ada",
            {"contact_points": [{"channel": "push", "address": "token"}]},
            422,
            "invalid_address",
            "contact_points[0].address",
        ),
        (
            "PUT",
            "/v1/recipients/ada",
            {"contact_points": [{"channel": "email", "address": "a@example.com"}] * 2},
            422,
            "invalid_value",
            "contact_points[1]",
        ),
        (
            "POST",
            "/v1/recipients/batch",
            {"recipients": [{"external_id": "x"}, {"external_id": "x"}]},
            422,
            "invalid_value",
            "recipients[1].external_id",
        ),
        (
            "POST",
            "/v1/recipients/batch",
            {"recipients": [{"name": "x"}]},
            422,
            "invalid_request",
            "recipients[0].external_id",
        ),
        (
            "PUT",
            "/v1/recipients/ada/subscriptions/no.such",
            {},
            422,
            "unknown_event_type",
            "event_type",
        ),
        (
            "PUT",
            "/v1/recipients/ada/preferences",
            {"scope": "no.such", "channel": "email", "enabled": False},
            422,
            "invalid_value",
            "scope",
        ),
        (
            "PUT",
            "/v1/topics/t/members",
            {"recipients": ["ada", "zoe"]},
            422,
            "unknown_recipient",
            "recipients[1]",
        ),
        ("GET", "/v1/nothing", None, 404, "not_found", None),
        ("GET", "/nothing", None, 404, "not_found", None),
        ("DELETE", "/v1/events", None, 405, "method_not_allowed", None),
    ],
)
def test_every_fault_of_a_request_is_a_problem(
    acme: Client,
    other: Client,
    method: str,
    path: str,
    body: Any,
    status: int,
    code: str,
    field: Any,
) -> None:
    problem(acme(method, path, body), status, code, field)


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "expected"),
    [
        (
            "PUT",
            "/v1/recipients/ada",
            {"locale": "German, please"},
            "locale",
            "a language tag such as de-AT",
        ),
        ("PUT", "/v1/recipients/ada", {"is_admin": "yes"}, "is_admin", "true or false"),
        (
            "PUT",
            "/v1/recipients/ada",
            {"name": "x" * 201},
            "name",
            "text of at most 200 characters",
        ),
        ("PUT", "/v1/recipients/ada", {"attributes": []}, "attributes", "an object"),
        (
            "PUT",
            "/v1/recipients/ada",
            {"contact_points": [{"channel": "webhook", "address": "x", "secret": ""}]},
            "contact_points[0].secret",
            "text of 1 to 500 characters",
        ),
        (
            "PUT",
            "/v1/recipients/ada",
            {"contact_points": [{"channel": "pigeon", "address": "x"}]},
            "contact_points[0].channel",
            f"one of {', '.join(Channel)}",
        ),
        (
            "POST",
            "/v1/recipients/batch",
            {"recipients": []},
            "recipients",
            "a list of 1 to 1000",
        ),
        (
            "PUT",
            "/v1/recipients/ada/preferences",
            {"scope": "", "channel": "email", "enabled": True},
            "scope",
            "text of 1 to 200 characters, none of them a control character",
        ),
        ("PUT", "/v1/recipients/ada", [], "body", "an object"),
        ("POST", "/v1/pauses", {"reason": ""}, "reason", "text of 1 to 500 characters"),
        (
            "POST",
            "/v1/pauses",
            {"reason": "x", "until": "tomorrow"},
            "until",
            "a time with its offset (2026-05-01T09:00:00+02:00)",
        ),
        ("GET", "/v1/suppressions?limit=many", None, "limit", "a whole number from 1 to 1000"),
        ("GET", "/v1/suppressions?limit=0", None, "limit", "a whole number from 1 to 1000"),
        ("GET", "/v1/suppressions?channel=fax", None, "channel", f"one of {', '.join(Channel)}"),
        ("GET", "/v1/events/1", None, "event_id", "a UUID"),
        (
            "POST",
            "/v1/event-types/task.due_soon/preview",
            {"channel": "sms", "parts": {"text": 5}},
            "parts.text",
            "text",
        ),
    ],
)
def test_what_is_expected_is_said_in_our_words_with_its_whole_range(
    acme: Client, method: str, path: str, body: Any, field: str, expected: str
) -> None:
    found = problem(acme(method, path, body), 422, "invalid_request", field)
    assert found["expected"] == expected
    assert found["detail"] == f"{field}: expected {expected}"


def test_a_code_has_one_title_whatever_raised_it(acme: Client) -> None:
    form = "The request is not of the documented form"
    value = "A field has a value that can not be used"
    for path, body, code, title in (
        ("/v1/events", {"payload": {}}, "invalid_request", form),
        ("/v1/pauses", {"reason": ""}, "invalid_request", form),
        ("/v1/events", {"event_type": "a\0b"}, "invalid_value", value),
        ("/v1/pauses", {"reason": "x", "provider": "pigeon"}, "invalid_value", value),
    ):
        found = acme("POST", path, body).json()
        assert (found["code"], found["title"]) == (code, title)
    titles = {acme("GET", path).json()["title"] for path in (f"/v1/events/{uuid.uuid4()}", "/v1/x")}
    assert titles == {"There is no such thing (or it is another tenant's)"}


def test_a_cursor_or_filter_that_can_not_be_is_refused(acme: Client) -> None:
    made = acme("POST", "/v1/events", event()).json()
    for name, value in (
        ("cursor", "nonsense"),
        ("limit", "0"),
        ("status", "lost"),
        ("channel", "pigeon"),
    ):
        response = acme("GET", f"/v1/events/{made['id']}/deliveries", params={name: value})
        problem(response, 422, "invalid_request", name)


def test_without_a_good_key_every_route_is_a_401(connection: Connection, acme: Client) -> None:
    _, expired = keys.create_key(
        connection, acme.tenant, "old", datetime.now(UTC) - timedelta(seconds=1)
    )
    revoked_id, revoked = keys.create_key(connection, acme.tenant, "gone")
    assert keys.revoke_key(connection, acme.tenant, revoked_id)
    assert not keys.revoke_key(connection, acme.tenant, revoked_id)
    connection.commit()
    for token in ("", "nonsense", "nk_" + "x" * 43, expired, revoked, acme.token + "x"):
        stranger = Client(acme.url, acme.tenant, token, acme.session)
        for method, path in every_route():
            response = stranger(method, path, {})
            problem(response, 401, "unauthenticated", "Authorization")
            assert response.headers["WWW-Authenticate"] == "Bearer"
    bare = acme.session.get(f"{acme.url}/v1/event-types", timeout=10)
    problem(bare, 401, "unauthenticated", "Authorization")


def test_a_rotated_key_lasts_through_its_overlap_and_the_new_one_is_good(
    connection: Connection, acme: Client
) -> None:
    old_id, old = keys.create_key(connection, acme.tenant, "rotating")
    new_id, new = keys.rotate_key(connection, acme.tenant, old_id, timedelta(hours=1))
    last_id, last = keys.rotate_key(connection, acme.tenant, new_id, timedelta(0))
    connection.commit()
    status = {
        token: Client(acme.url, acme.tenant, token, acme.session)(
            "GET", "/v1/event-types"
        ).status_code
        for token in (old, new, last)
    }
    assert status == {old: 200, new: 401, last: 200}
    assert [key.id for key in keys.list_keys(connection, acme.tenant)][:3] == [
        last_id,
        new_id,
        old_id,
    ]
    stored = connection.exec_driver_sql("SELECT api_keys::text FROM notifier.api_keys").scalars()
    assert not any(token[3:] in row for row in stored for token in (old, new, last))


def test_a_revoked_key_is_forgotten_within_seconds(
    connection: Connection, acme: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.http.gate.KEY_SECONDS", 0.0)
    key_id, token = keys.create_key(connection, acme.tenant, "x")
    connection.commit()
    client = Client(acme.url, acme.tenant, token, acme.session)
    assert client("GET", "/v1/event-types").status_code == 200
    keys.revoke_key(connection, acme.tenant, key_id)
    connection.commit()
    problem(client("GET", "/v1/event-types"), 401, "unauthenticated", "Authorization")


def every_route() -> list[tuple[str, str]]:
    some = uuid.uuid4()
    return [
        ("POST", "/v1/events"),
        ("POST", "/v1/events/batch"),
        ("GET", f"/v1/events/{some}"),
        ("GET", f"/v1/events/{some}/deliveries"),
        ("POST", f"/v1/events/{some}/cancel"),
        ("GET", f"/v1/deliveries/{some}"),
        ("POST", f"/v1/deliveries/{some}/cancel"),
        ("PUT", "/v1/recipients/ada"),
        ("POST", "/v1/recipients/batch"),
        ("GET", "/v1/recipients/ada"),
        ("PUT", "/v1/recipients/ada/subscriptions/task.due_soon"),
        ("PUT", "/v1/recipients/ada/preferences"),
        ("PUT", "/v1/topics/t/members"),
        ("GET", "/v1/event-types"),
        ("POST", "/v1/connections/slack"),
        ("GET", "/v1/connections"),
        ("DELETE", f"/v1/connections/{some}"),
    ]


def test_another_tenants_ids_are_not_found_on_any_route(
    database: Database, acme: Client, other: Client
) -> None:
    made = acme("POST", "/v1/events", event(idempotency_key="k")).json()
    page = acme("GET", f"/v1/events/{made['id']}/deliveries").json()
    delivery = page["deliveries"][0]["id"]
    preference = {"scope": "*", "channel": "email", "enabled": False}
    for method, path, body in (
        ("GET", f"/v1/events/{made['id']}", None),
        ("GET", f"/v1/events/{made['id']}/deliveries", None),
        ("POST", f"/v1/events/{made['id']}/cancel", None),
        ("GET", f"/v1/deliveries/{delivery}", None),
        ("POST", f"/v1/deliveries/{delivery}/cancel", None),
        ("GET", "/v1/recipients/ada", None),
        ("PUT", "/v1/recipients/ada/subscriptions/task.due_soon", {}),
        ("PUT", "/v1/recipients/ada/preferences", preference),
    ):
        response = other(method, path, body)
        assert response.status_code == 404, path
        assert response.json()["code"] == "not_found"
    problem(
        other("POST", "/v1/events", event()), 422, "unknown_recipient", "audience.recipients[0]"
    )
    members = {"recipients": ["ada"]}
    problem(
        other("PUT", "/v1/topics/t/members", members), 422, "unknown_recipient", "recipients[0]"
    )
    # The same names in the other tenant are other rows.
    assert other("PUT", "/v1/recipients/ada", {"name": "Not her"}).status_code == 200
    assert other("POST", "/v1/recipients/batch", {"recipients": [{"external_id": "bob"}]}).ok
    assert acme("GET", "/v1/recipients/ada").json()["name"] == "Ada"
    assert other("POST", "/v1/events", event(idempotency_key="k")).status_code == 202
    assert database.one("SELECT count(*) FROM notifier.event_cancellations") == 0
    assert database.one("SELECT count(*) FROM notifier.user_notification_preferences") == 0


@pytest.mark.parametrize(
    ("path", "largest"), [("/v1/events", LARGEST_BODY), ("/v1/events/batch", LARGEST_BATCH)]
)
def test_a_body_beyond_the_limit_is_a_413_announced_or_not(
    acme: Client, path: str, largest: int
) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(largest // 65_536 + 1):
            yield b" " * 65_536

    problem(acme("POST", path, data=pieces()), 413, "body_too_large", "body")
    where = urlsplit(acme.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as raw:
        raw.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {acme.token}\r\n"
            f"Content-Length: {largest + 1}\r\n\r\n".encode()
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "fault",
    [
        OperationalError("SELECT secret", {"a": "secret"}, Exception("secret")),
        InterfaceError("SELECT secret", {"a": "secret"}, Exception("secret")),
        # A server that takes no writes for the moment.
        InternalError("SELECT secret", {"a": "secret"}, Exception("secret")),
        # Every connection of the pool is in use.
        PoolTimeout("secret"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_the_database_away_is_a_503_and_healthz_still_answers(
    acme: Client, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def away() -> None:
        raise fault

    monkeypatch.setattr("notifier.store.tenancy.connect", away)
    monkeypatch.setattr("notifier.http.health.connect", away)
    response = acme("GET", "/v1/event-types")
    problem(response, 503, "unavailable")
    assert response.headers["Retry-After"] == "1"
    assert "secret" not in response.text
    assert acme("GET", "/healthz").json() == {"status": "ok"}
    assert acme("GET", "/readyz").status_code == 503


def test_our_own_fault_is_a_500_that_quotes_nothing(
    acme: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("canary-in-an-error")

    monkeypatch.setattr("notifier.http.recipients.templates.event_types", broken)
    with structlog.testing.capture_logs() as logs:
        response = acme("GET", "/v1/event-types")
    problem(response, 500, "internal_error")
    assert "canary" not in response.text
    told = [entry for entry in logs if entry["event"] == "request failed"]
    assert [entry["error"] for entry in told] == ["RuntimeError"]
    assert "canary" not in json.dumps(logs, default=str)


def test_the_access_log_has_the_route_and_never_a_key_a_body_or_a_token(acme: Client) -> None:
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as logs:
        acme("PUT", "/v1/recipients/canary-id", {"name": "canary-name"})
        acme("POST", "/u/canary-token")
        acme("GET", "/v1/nothing/canary-path?canary=query", headers={"X-Correlation-Id": "c-7"})
        # An access line is written once the answer is out.
        deadline = time.monotonic() + 5
        while len(logs) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
    text = json.dumps(logs, default=str)
    assert "canary" not in text
    assert acme.token not in text
    assert [entry["route"] for entry in logs] == [
        "/v1/recipients/{external_id}",
        "/u/{token}",
        None,
    ]
    assert [entry["status"] for entry in logs] == [200, 404, 404]
    assert logs[2]["correlation_id"] == "c-7"


def test_no_header_names_the_server(acme: Client) -> None:
    response = acme("GET", "/healthz")
    assert "Server" not in response.headers
    assert response.headers["X-Content-Type-Options"] == "nosniff"
