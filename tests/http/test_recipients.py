"""Recipients, topics, preferences, the unsubscribe page, OpenAPI and health."""

import subprocess
import sys
import uuid

import jsonschema
import pytest
import requests
from sqlalchemy import Connection

from notifier import unsubscribe
from notifier.store.migrate import versions
from notifier.words import Channel
from tests.channels.conftest import SECRET
from tests.channels.test_addresses import GOOD
from tests.conftest import Database
from tests.http.conftest import Client, event, problem


def test_a_recipient_is_put_and_read_back_without_secrets(acme: Client) -> None:
    body = {
        "name": "Ann",
        "is_admin": True,
        "locale": "de-CH",
        "timezone": "Europe/Zurich",
        "attributes": {"plan": "pro"},
        "contact_points": [
            {"channel": "email", "address": "ann@example.com"},
            {"channel": "webhook", "address": "https://example.com/h", "secret": SECRET},
            {"channel": "slack", "address": "https://hooks.slack.com/services/T/B/secret"},
        ],
    }
    put = acme("PUT", "/v1/recipients/ann@home", body)
    assert put.status_code == 200
    found = acme("GET", "/v1/recipients/ann@home").json()
    assert found == put.json()
    assert {name: found[name] for name in body if name != "contact_points"} == {
        name: value for name, value in body.items() if name != "contact_points"
    }
    assert [point["address"] for point in found["contact_points"]] == [
        "ann@example.com",
        "https://example.com/h",
        None,
    ]
    assert "secret" not in put.text


def test_push_is_addressed_as_the_services_do(acme: Client) -> None:
    addresses = [address for channel, address in GOOD if channel is Channel.PUSH]
    points = [{"channel": "push", "address": address} for address in addresses]
    put = acme("PUT", "/v1/recipients/grace", {"contact_points": points})
    assert put.status_code == 200, put.text
    # Whoever has one can be sent to: they are written, and never shown.
    assert [point["address"] for point in put.json()["contact_points"]] == [None] * len(addresses)
    for address in addresses:
        audience = {"addresses": [{"channel": "push", "address": address}]}
        emitted = acme("POST", "/v1/events", event(audience=audience))
        assert emitted.status_code in (200, 201, 202), emitted.text


def test_many_recipients_are_put_at_once_or_none(database: Database, acme: Client) -> None:
    many = [{"external_id": f"r{n}", "name": f"R {n}"} for n in range(1000)]
    assert acme("POST", "/v1/recipients/batch", {"recipients": many}).json() == {"upserted": 1000}
    bad = [{"external_id": "s"}, {"external_id": "t", "timezone": "Nowhere"}]
    assert acme("POST", "/v1/recipients/batch", {"recipients": bad}).status_code == 422
    assert database.one("SELECT count(*) FROM notifier.recipients") == 1003


def test_subscriptions_preferences_and_topics_decide_who_gets_an_event(acme: Client) -> None:
    for who in ("ada", "bob"):
        path = f"/v1/recipients/{who}/subscriptions/task.due_soon"
        assert acme("PUT", path, {"admin_only": True}).json() == {
            "event_type": "task.due_soon",
            "is_active": True,
            "admin_only": True,
        }
    made = acme("POST", "/v1/events", event(audience="subscribers")).json()
    deliveries = f"/v1/events/{made['id']}/deliveries"
    page = acme("GET", deliveries).json()["deliveries"]
    assert {delivery["recipient"] for delivery in page} == {"ada"}

    assert acme("PUT", "/v1/topics/all/members", {"recipients": ["ada", "bob"]}).json() == {
        "name": "all",
        "members": 2,
    }
    assert acme("PUT", "/v1/topics/all/members", {"recipients": ["bob", "eve"]}).ok
    preference = {"scope": "category:work", "channel": "email", "enabled": False}
    assert acme("PUT", "/v1/recipients/eve/preferences", preference).json() == preference
    audience = {"topics": ["all"], "channels": ["email"]}
    made = acme("POST", "/v1/events", event(audience=audience)).json()
    page = acme("GET", f"/v1/events/{made['id']}/deliveries").json()["deliveries"]
    assert {(d["recipient"], d["reason"]) for d in page} == {("bob", None), ("eve", "opted_out")}
    assert acme("GET", "/v1/recipients/eve").json()["preferences"] == [preference]


def test_the_event_types_come_with_their_schemas(acme: Client) -> None:
    found = acme("GET", "/v1/event-types").json()["event_types"]
    assert len(found) >= 14
    (task,) = [each for each in found if each["name"] == "task.due_soon"]
    assert task["payload_schema"]["properties"]["task"]


def link(acme: Client, database: Database, **more: object) -> str:
    """The unsubscribe link of an e-mail, as its header has it."""
    acme("POST", "/v1/events", event(**more))
    found = unsubscribe.url(
        database.one("SELECT id FROM notifier.notification_deliveries WHERE channel = 'email'")
    )
    assert found
    return found


def test_opening_the_unsubscribe_page_changes_nothing(database: Database, acme: Client) -> None:
    address = link(acme, database)
    for method in ("GET", "HEAD"):
        response = acme.session.request(method, address, timeout=10)
        assert response.status_code in (200, 405)
    assert '<form method="post">' in acme.session.get(address, timeout=10).text
    assert database.one("SELECT count(*) FROM notifier.user_notification_preferences") == 0


def test_one_post_unsubscribes_without_login_or_redirect(database: Database, acme: Client) -> None:
    address = link(acme, database)
    for _ in range(2):
        response = acme.session.post(
            address, data={"List-Unsubscribe": "One-Click"}, allow_redirects=False, timeout=10
        )
        assert response.status_code == 200
        assert "Location" not in response.headers
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert acme("GET", "/v1/recipients/ada").json()["preferences"] == [
        {"scope": "task.due_soon", "channel": "email", "enabled": False}
    ]
    audience = {"recipients": ["ada"], "channels": ["email"]}
    made = acme("POST", "/v1/events", event(audience=audience)).json()
    assert (made["created"], made["refused"]) == (0, 1)


def test_an_address_without_a_recipient_is_suppressed(database: Database, acme: Client) -> None:
    to = {"addresses": [{"channel": "email", "address": "new@example.com"}]}
    assert acme.session.post(link(acme, database, audience=to), timeout=10).status_code == 200
    assert database.query("SELECT address, reason FROM notifier.suppressions") == [
        ("new@example.com", "unsubscribed")
    ]


def test_a_link_that_is_not_ours_does_nothing(database: Database, acme: Client) -> None:
    address = link(acme, database)
    unknown = unsubscribe.url(uuid.uuid4())
    for bad in (address[:-2], address + "AA", address.rpartition("/")[0] + "/x"):
        assert acme.session.get(bad, timeout=10).status_code == 404
        assert acme.session.post(bad, timeout=10).status_code == 404
    assert unknown
    assert acme.session.post(unknown, timeout=10).status_code == 404
    assert database.one("SELECT count(*) FROM notifier.user_notification_preferences") == 0


def test_ready_means_the_schema_is_this_releases(
    database: Database, connection: Connection, acme: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert acme("GET", "/readyz").json() == {
        "status": "ready",
        "postgres": "ok",
        "schema": {"installed": versions()[-1], "expected": versions()[-1]},
        "redis": "ok",
    }
    monkeypatch.setattr("notifier.http.health.versions", lambda: ("9999",))
    response = acme("GET", "/readyz")
    assert (response.status_code, response.json()["status"]) == (503, "not ready")


def test_the_openapi_document_lists_every_route_and_describes_the_answers(acme: Client) -> None:
    document = acme("GET", "/openapi.json").json()
    assert {
        (method.upper(), path) for path, each in document["paths"].items() for method in each
    } == {
        ("POST", "/v1/events"),
        ("POST", "/v1/attachments"),
        ("POST", "/v1/events/batch"),
        ("GET", "/v1/events/{event_id}"),
        ("GET", "/v1/events/{event_id}/deliveries"),
        ("POST", "/v1/events/{event_id}/acknowledge"),
        ("POST", "/v1/events/{event_id}/cancel"),
        ("GET", "/v1/deliveries/{delivery_id}"),
        ("POST", "/v1/deliveries/{delivery_id}/acknowledge"),
        ("POST", "/v1/deliveries/{delivery_id}/cancel"),
        ("PUT", "/v1/recipients/{external_id}"),
        ("GET", "/v1/recipients/{external_id}"),
        ("POST", "/v1/recipients/batch"),
        ("PUT", "/v1/recipients/{external_id}/subscriptions/{event_type}"),
        ("PUT", "/v1/recipients/{external_id}/preferences"),
        ("PUT", "/v1/topics/{name}/members"),
        ("GET", "/v1/event-types"),
        ("POST", "/v1/pauses"),
        ("GET", "/v1/pauses"),
        ("DELETE", "/v1/pauses/{pause_id}"),
        ("GET", "/v1/suppressions"),
        ("POST", "/v1/suppressions"),
        ("DELETE", "/v1/suppressions"),
        ("GET", "/v1/sandbox/messages"),
        ("GET", "/v1/event-types/{event_type}/templates"),
        ("PUT", "/v1/event-types/{event_type}/templates/{channel}/{locale}"),
        ("POST", "/v1/event-types/{event_type}/preview"),
        ("GET", "/v1/templates/{template_id}"),
        ("POST", "/v1/templates/{template_id}/restore"),
        ("POST", "/v1/connections/{provider}"),
        ("GET", "/v1/connections"),
        ("DELETE", "/v1/connections/{connection_id}"),
        ("GET", "/oauth/{provider}/callback"),
        ("GET", "/u/{token}"),
        ("POST", "/u/{token}"),
        ("GET", "/a/{token}"),
        ("POST", "/a/{token}"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
    }

    def described(path: str, method: str, status: str, answer: object) -> None:
        content = document["paths"][path][method]["responses"][status]["content"]
        ((_, media),) = content.items()
        jsonschema.validate(answer, {**media["schema"], "components": document["components"]})

    made = acme("POST", "/v1/events", event()).json()
    described("/v1/events", "post", "202", made)
    batch = acme("POST", "/v1/events/batch", {"events": [event(), {}]}).json()
    described("/v1/events/batch", "post", "200", batch)
    shown = acme("GET", f"/v1/events/{made['id']}").json()
    described("/v1/events/{event_id}", "get", "200", shown)
    page = acme("GET", f"/v1/events/{made['id']}/deliveries").json()
    described("/v1/events/{event_id}/deliveries", "get", "200", page)
    cancelled = acme("POST", f"/v1/events/{made['id']}/cancel").json()
    described("/v1/events/{event_id}/cancel", "post", "200", cancelled)
    escalation = [{"after": 60, "channels": ["sms"]}]
    asking = acme("POST", "/v1/events", event(escalation=escalation)).json()["id"]
    said = acme("POST", f"/v1/events/{asking}/acknowledge").json()
    described("/v1/events/{event_id}/acknowledge", "post", "200", said)
    described("/v1/events/{event_id}", "get", "200", acme("GET", f"/v1/events/{asking}").json())
    one = acme("GET", f"/v1/deliveries/{page['deliveries'][0]['id']}").json()
    described("/v1/deliveries/{delivery_id}", "get", "200", one)
    ada = acme("GET", "/v1/recipients/ada").json()
    described("/v1/recipients/{external_id}", "get", "200", ada)
    types = acme("GET", "/v1/event-types").json()
    described("/v1/event-types", "get", "200", types)
    begun = acme("POST", "/v1/pauses", {"reason": "holidays"}).json()
    described("/v1/pauses", "post", "201", begun)
    described("/v1/pauses", "get", "200", acme("GET", "/v1/pauses").json())
    ended = acme("DELETE", f"/v1/pauses/{begun['id']}").json()
    described("/v1/pauses/{pause_id}", "delete", "200", ended)
    point = {"channel": "email", "address": "ada@example.com"}
    for status in ("201", "200"):
        added = acme("POST", "/v1/suppressions", {**point, "reason": "by hand"}).json()
        described("/v1/suppressions", "post", status, added)
    described("/v1/suppressions", "get", "200", acme("GET", "/v1/suppressions").json())
    lifted = acme("DELETE", "/v1/suppressions", point).json()
    described("/v1/suppressions", "delete", "200", lifted)
    base = "/v1/event-types/task.due_soon"
    place = "/v1/event-types/{event_type}/templates"
    saved = acme("PUT", f"{base}/templates/sms/en", {"parts": {"text": "x"}}).json()
    described(place + "/{channel}/{locale}", "put", "200", saved)
    described(place, "get", "200", acme("GET", f"{base}/templates").json())
    read = acme("GET", f"/v1/templates/{saved['id']}").json()
    described("/v1/templates/{template_id}", "get", "200", read)
    shown = acme("POST", f"{base}/preview", {"channel": "sms"}).json()
    described("/v1/event-types/{event_type}/preview", "post", "200", shown)
    described("/v1/connections", "get", "200", acme("GET", "/v1/connections").json())
    wrong = acme("POST", "/v1/events", {}).json()
    described("/v1/events", "post", "default", wrong)
    sent = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]
    jsonschema.validate(event(), {**sent["schema"], "components": document["components"]})


def test_producers_do_not_load_the_api() -> None:
    code = "import sys, notifier; print('fastapi' in sys.modules or 'uvicorn' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_an_endpoint_has_a_secret_to_sign_with_from_the_start(
    database: Database, acme: Client
) -> None:
    hook = {"channel": "webhook", "address": "https://example.com/h"}

    def put(**point: str) -> requests.Response:
        return acme("PUT", "/v1/recipients/ann", {"contact_points": [{**hook, **point}]})

    for wrong in ({}, {"secret": "geheim"}, {"secret": "whsec_?"}, {"secret": " "}):
        told = problem(put(**wrong), 422, "invalid_value", "contact_points[0].secret")
        assert "whsec_ and base64" in told["detail"]
    no_use = put(channel="email", address="ann@example.com", secret=SECRET)
    problem(no_use, 422, "invalid_value", "contact_points[0].secret")
    assert acme("GET", "/v1/recipients/ann").status_code == 404, "nothing was written"
    assert put(secret=f"{SECRET} {SECRET}").ok, "two, while one is replaced"
    assert put().ok, "it keeps those it has"
    kept = "SELECT secret FROM notifier.contact_points WHERE channel = 'webhook'"
    assert database.one(kept) == f"{SECRET} {SECRET}"
