"""What the sandbox captured, over HTTP."""

import uuid

import pytest
from sqlalchemy import Connection

from notifier.store import captures
from notifier.store.captures import Kept
from tests.conftest import Database
from tests.engine import to
from tests.http.conftest import Client, problem


@pytest.fixture
def captured(database: Database, connection: Connection, acme: Client) -> None:
    """An e-mail and an SMS to ada and to bob each."""
    for channel in ("email", "sms"):
        to(connection, acme.tenant, ["ada", "bob"], channel)
    rows = database.query(
        "SELECT id, tenant_id, recipient_id, channel, address FROM notifier.notification_deliveries"
    )
    captures.keep_in_sandbox(
        connection,
        [
            Kept(id, tenant, recipient, "task.due_soon", channel, address, 1, {"text": "Due soon"})
            for id, tenant, recipient, channel, address in rows
        ],
    )
    connection.commit()


@pytest.mark.usefixtures("captured")
def test_a_tenant_reads_what_was_captured_of_its_own(acme: Client, other: Client) -> None:
    found = acme("GET", "/v1/sandbox/messages").json()["messages"]
    assert [message["channel"] for message in found] == ["sms", "sms", "email", "email"]
    (message,) = acme("GET", "/v1/sandbox/messages?channel=email&recipient=ada").json()["messages"]
    assert uuid.UUID(message.pop("delivery_id"))
    assert uuid.UUID(message.pop("event_id"))
    assert message.pop("created_at")
    assert message == {
        "event_type": "task.due_soon",
        "channel": "email",
        "recipient": "ada",
        "address": "ada@example.com",
        "attempt": 1,
        "parts": {"text": "Due soon"},
    }
    assert len(acme("GET", "/v1/sandbox/messages?limit=3").json()["messages"]) == 3
    assert other("GET", "/v1/sandbox/messages").json() == {"messages": []}


def test_a_wrong_field_is_named(acme: Client) -> None:
    for query, field in (("channel=fax", "channel"), ("limit=0", "limit"), ("limit=1001", "limit")):
        answer = acme("GET", f"/v1/sandbox/messages?{query}")
        problem(answer, 422, "invalid_request", field)
