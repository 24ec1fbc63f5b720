"""A tenant writes its own texts, over HTTP."""

import uuid
from typing import Any

import pytest
from sqlalchemy.exc import ProgrammingError

from notifier.store.engine import engine_for
from tests.conftest import Database
from tests.http.conftest import TASK, Client, event, problem

TEMPLATES = "/v1/event-types/task.due_soon/templates"
PREVIEW = "/v1/event-types/task.due_soon/preview"


def put(client: Client, text: str, place: str = "sms/en") -> str:
    answer = client("PUT", f"{TEMPLATES}/{place}", {"parts": {"text": text}})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def test_a_template_is_saved_listed_read_and_taken_back(acme: Client) -> None:
    first = put(acme, "first", "sms/de_at")
    second = put(acme, "second", "sms/de-AT")
    assert put(acme, "second", "sms/de-AT") == second
    listed = acme("GET", TEMPLATES).json()["templates"]
    own = [version for version in listed if version["is_own"]]
    assert [(v["id"], v["channel"], v["locale"], v["version"]) for v in own] == [
        (second, "sms", "de-AT", 2),
        (first, "sms", "de-AT", 1),
    ]
    assert {v["channel"] for v in listed if not v["is_own"]} >= {"email", "inapp", "voice"}
    read = acme("GET", f"/v1/templates/{first}").json()
    assert (read["parts"], read["version"]) == ({"text": "first"}, 1)
    back = acme("POST", f"/v1/templates/{first}/restore").json()
    assert (back["version"], back["event_type"]) == (3, "task.due_soon")
    assert acme("GET", f"/v1/templates/{back['id']}").json()["parts"] == {"text": "first"}


def test_what_is_emitted_next_says_the_new_text(database: Database, acme: Client) -> None:
    saved = put(acme, "ours")
    acme("POST", "/v1/events", event(audience={"recipients": ["ada"], "channels": ["sms"]}))
    found = database.one("SELECT template_id FROM notifier.notification_deliveries")
    assert str(found) == saved


def test_another_tenants_templates_are_not_there(
    database: Database, acme: Client, other: Client
) -> None:
    theirs = put(other, "theirs")
    assert not any(v["is_own"] for v in acme("GET", TEMPLATES).json()["templates"])
    for method, path in (
        ("GET", f"/v1/templates/{theirs}"),
        ("POST", f"/v1/templates/{theirs}/restore"),
        ("GET", f"/v1/templates/{uuid.uuid4()}"),
    ):
        problem(acme(method, path), 404, "not_found", "template")
    text = acme("POST", PREVIEW, {"channel": "sms"}).json()["parts"]["text"]
    assert text.startswith("Due ")
    assert other("POST", PREVIEW, {"channel": "sms"}).json()["parts"]["text"] == "theirs"


def test_the_apis_role_can_not_write_another_tenants_template_nor_change_one(
    database: Database, acme: Client, other: Client
) -> None:
    theirs = put(other, "theirs")
    api = engine_for(database.api_url)
    insert = (
        "INSERT INTO notifier.templates (tenant_id, event_type, channel, locale, version, parts) "
        "VALUES (%s, 'task.due_soon', 'sms', 'en', 9, '{}')"
    )
    for statement, values, told in (
        (insert, (other.tenant,), "row-level security"),
        (insert, (None,), "row-level security"),
        ("UPDATE notifier.templates SET version = 9", (), "permission denied"),
        ("DELETE FROM notifier.templates", (), "permission denied"),
    ):
        with api.connect() as connection, connection.begin():
            connection.exec_driver_sql(
                "SELECT set_config('notifier.tenant', %s, true)", (str(acme.tenant),)
            )
            seen = connection.exec_driver_sql(
                "SELECT count(*) FROM notifier.templates WHERE id = %s", (theirs,)
            ).scalar_one()
            assert seen == 0
            with (
                pytest.raises(ProgrammingError, match=told),
                connection.begin_nested(),
            ):
                connection.exec_driver_sql(statement, values)
    api.dispose()


def test_a_preview_renders_what_is_saved_or_given(acme: Client) -> None:
    shown = acme(
        "POST", PREVIEW, {"channel": "email", "timezone": "Asia/Tokyo", "payload": TASK}
    ).json()
    assert shown["parts"]["subject"] == "Due soon: Write it down"
    assert "18:00 JST" in shown["parts"]["text"]
    assert shown["parts"]["html"].startswith("<!doctype html>")
    assert (shown["template"]["channel"], shown["sms"]) == ("email", None)
    given = acme(
        "POST", PREVIEW, {"channel": "sms", "parts": {"text": "{{ task.title }} ✓"}}
    ).json()
    assert given == {
        "parts": {"text": "Send the signed contract ✓"},
        "template": None,
        "sms": {"encoding": "UCS-2", "units": 26, "segments": 1},
    }


def test_a_faulty_template_is_a_problem_with_part_and_line(
    database: Database, acme: Client
) -> None:
    wrong = {"parts": {"subject": "s", "text": "\n{{ task.titel }}"}}
    for answer in (
        acme("PUT", f"{TEMPLATES}/email/en", wrong),
        acme("POST", PREVIEW, {"channel": "email", **wrong}),
    ):
        told = problem(answer, 422, "invalid_template", "parts")
        assert "text, line 2: task.titel is not in the payload's schema" in told["detail"]
    assert database.one("SELECT count(*) FROM notifier.templates WHERE tenant_id IS NOT NULL") == 0


def test_a_wrong_field_is_named(acme: Client) -> None:
    sound = {"parts": {"text": "x"}}
    refused: tuple[tuple[str, dict[str, Any], str, str], ...] = (
        (f"{TEMPLATES}/fax/en", sound, "invalid_value", "channel"),
        (f"{TEMPLATES}/webhook/en", sound, "invalid_value", "channel"),
        (f"{TEMPLATES}/sms/x", sound, "invalid_value", "locale"),
        ("/v1/event-types/a.b/templates/sms/en", sound, "unknown_event_type", "event_type"),
        (f"{TEMPLATES}/sms/en", {}, "invalid_request", "parts"),
        (f"{TEMPLATES}/sms/en", {"parts": {"text": 1}}, "invalid_request", "parts.text"),
        (f"{TEMPLATES}/sms/en", {**sound, "why": 1}, "invalid_request", "why"),
        (f"{TEMPLATES}/sms/en", {**sound, "payload": {}}, "invalid_payload", "payload.task"),
    )
    for path, body, code, field in refused:
        problem(acme("PUT", path, body), 422, code, field)
    unseen: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "channel"),
        ({"channel": "fax"}, "channel"),
        ({"channel": "sms", "timezone": "Mars/Olympus"}, "timezone"),
        ({"channel": "sms", "locale": "?"}, "locale"),
        ({"channel": "sms", "payload": {"task": {}}}, "payload.task.due_at"),
    )
    for body, field in unseen:
        answer = acme("POST", PREVIEW, body)
        assert answer.status_code == 422, body
        assert answer.json()["field"] in (field, "payload.task.title"), answer.json()
    problem(acme("GET", "/v1/event-types/a.b/templates"), 422, "unknown_event_type", "event_type")
