"""One table of good and bad inputs through every face: same code, same field, same rows."""

import io
import json
import os
import uuid
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from typing import Any

import psycopg
import pytest
import requests
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from notifier import emit
from notifier.cli import main
from notifier.errors import Refused
from notifier.store import keys
from tests.conftest import Database
from tests.http.conftest import url
from tests.test_emit import TASK

__all__ = ["url"]

Answer = tuple[str, str] | None
"""The (code, field) of a refusal, or None where the event was taken."""

Face = Callable[[Database, dict[str, Any]], Answer]


def by_python(database: Database, given: dict[str, Any]) -> Answer:
    with database.pool.connect() as connection:
        try:
            emit(
                connection,
                given["event_type"],
                given["payload"],
                tenant=given["tenant"],
                to=given["audience"],
                **given["options"],
            )
        except Refused as refusal:
            connection.commit()
            return refusal.code, refusal.field
        connection.commit()
    return None


def by_sql(database: Database, given: dict[str, Any]) -> Answer:
    with psycopg.connect(database.producer_url) as connection:
        try:
            connection.execute(
                "SELECT notifier.emit_notification_event(%s::uuid, %s, %s::jsonb, %s::jsonb, %s::jsonb)",
                (
                    given["tenant"],
                    given["event_type"],
                    json.dumps(given["payload"]),
                    json.dumps(given["audience"]),
                    json.dumps(given["options"]),
                ),
            )
        except psycopg.Error as error:
            if error.sqlstate == "22P02":
                # Only a tenant that is no UUID fails before our function is reached.
                return "unknown_tenant", "tenant"
            if error.sqlstate != "NT422":
                raise
            return str(error.diag.message_detail), str(error.diag.message_hint)
    return None


def by_cli(database: Database, given: dict[str, Any]) -> Answer:
    arguments = ["emit", given["event_type"], "--json", "--tenant", str(given["tenant"])]
    arguments += ["--payload", json.dumps(given["payload"]), "--to", json.dumps(given["audience"])]
    for name, value in given["options"].items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = main(arguments)
    told = json.loads(printed.getvalue().splitlines()[-1])
    if code == 0:
        return None
    assert code == 2, told
    return told["error"]["code"], told["error"]["field"]


def by_http(database: Database, given: dict[str, Any]) -> Answer:
    # A tenant that is none has no key: over HTTP it is the key that names the tenant.
    token = "nk_none"
    with suppress(DBAPIError, Refused), database.pool.begin() as connection:
        _, token = keys.create_key(connection, given["tenant"], str(uuid.uuid4()))
    body = {name: given[name] for name in ("event_type", "payload", "audience")}
    answer = requests.post(
        os.environ["NOTIFIER_PUBLIC_URL"] + "/v1/events",
        json={**body, **given["options"]},
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )
    if answer.ok:
        return None
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert 400 <= answer.status_code < 500
    if answer.status_code == 401:
        return "unknown_tenant", "tenant"
    return problem["code"], problem["field"]


FACES: list[Face] = [by_python, by_sql, by_cli, by_http]


@pytest.fixture(autouse=True)
def served(url: str) -> str:
    """The API, for the face that needs it."""
    return url


GOOD: dict[str, dict[str, Any]] = {
    "recipients": {},
    "subscribers": {"audience": "subscribers"},
    "the whole tenant": {"audience": {"tenant": True}},
    "explicit addresses": {
        "audience": {
            "addresses": [{"channel": "email", "address": "x@example.com", "locale": "de"}]
        }
    },
    "all but one": {"audience": {"tenant": True, "except": ["bob"], "channels": ["email"]}},
    "every option": {
        "options": {
            "idempotency_key": "k",
            "scheduled_for": "2099-01-01T00:00:00+00:00",
            "expires_at": "2099-01-02T00:00:00+00:00",
            "lane": "bulk",
            "source": "worker_job",
            "actor": "tests",
            "correlation_id": "c-1",
        }
    },
}


def nested(levels: int) -> list[Any]:
    """A list in a list in a list …"""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


BAD: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "unknown event type": ({"event_type": "no.such"}, ("unknown_event_type", "event_type")),
    "tenant is no uuid": ({"tenant": "nobody"}, ("unknown_tenant", "tenant")),
    "unknown tenant": (
        {"tenant": "00000000-0000-7000-8000-000000000000"},
        ("unknown_tenant", "tenant"),
    ),
    "payload lacks a field": (
        {"payload": {"task": {"title": "x"}}},
        ("invalid_payload", "payload.task.due_at"),
    ),
    "payload has a field too many": (
        {"payload": {**TASK, "colour": "red"}},
        ("invalid_payload", "payload.colour"),
    ),
    "payload of a wrong type": (
        {"payload": {"task": {"title": 7, "due_at": "2026-12-01T09:00:00Z"}}},
        ("invalid_payload", "payload.task.title"),
    ),
    "payload with a wrong time": (
        {"payload": {"task": {"title": "x", "due_at": "tomorrow"}}},
        ("invalid_payload", "payload.task.due_at"),
    ),
    "payload too large": (
        {"payload": {"task": {"title": "x" * 70_000, "due_at": "2026-12-01T09:00:00Z"}}},
        ("payload_too_large", "payload"),
    ),
    "payload nested too deep": (
        {"payload": {**TASK, "a": nested(150)}},
        ("invalid_payload", "payload.a"),
    ),
    "payload with a number too long": (
        {"payload": {**TASK, "a": [10**2000]}},
        ("invalid_payload", "payload.a"),
    ),
    "unknown recipient": (
        {"audience": {"recipients": ["ada", "nobody"]}},
        ("unknown_recipient", "audience.recipients[1]"),
    ),
    "unknown topic": (
        {"audience": {"topics": ["nothing"]}},
        ("unknown_topic", "audience.topics[0]"),
    ),
    "audience of a wrong form": ({"audience": ["ada"]}, ("invalid_audience", "audience")),
    "audience with an unknown key": (
        {"audience": {"recipients": ["ada"], "cc": []}},
        ("invalid_audience", "audience.cc"),
    ),
    "audience of nobody": ({"audience": {"channels": ["email"]}}, ("invalid_audience", "audience")),
    "unknown channel": (
        {"audience": {"tenant": True, "channels": ["email", "pigeon"]}},
        ("invalid_audience", "audience.channels[1]"),
    ),
    "malformed e-mail": (
        {"audience": {"addresses": [{"channel": "email", "address": "x@@example.com"}]}},
        ("invalid_address", "audience.addresses[0].address"),
    ),
    "malformed phone": (
        {"audience": {"addresses": [{"channel": "sms", "address": "555"}]}},
        ("invalid_address", "audience.addresses[0].address"),
    ),
    "push token of no service": (
        {"audience": {"addresses": [{"channel": "push", "address": "APA91b"}]}},
        ("invalid_address", "audience.addresses[0].address"),
    ),
    "malformed Slack channel": (
        {"audience": {"addresses": [{"channel": "slack", "address": "general"}]}},
        ("invalid_address", "audience.addresses[0].address"),
    ),
    "Teams without TLS": (
        {"audience": {"addresses": [{"channel": "teams", "address": "http://x.logic.azure.com"}]}},
        ("invalid_address", "audience.addresses[0].address"),
    ),
    "Apprise on this machine": (
        {"audience": {"addresses": [{"channel": "apprise", "address": "syslog://localhost"}]}},
        ("invalid_address", "audience.addresses[0].address"),
    ),
    "unknown lane": ({"options": {"lane": "fast"}}, ("invalid_option", "lane")),
    "unknown source": ({"options": {"source": "moon"}}, ("invalid_option", "source")),
    "key too long": (
        {"options": {"idempotency_key": "k" * 201}},
        ("invalid_option", "idempotency_key"),
    ),
}


def parsed(face: Face, given: dict[str, Any]) -> dict[str, Any]:
    """Python takes datetimes where the others take text."""
    if face is not by_python:
        return given
    from datetime import datetime

    options = {
        name: datetime.fromisoformat(value) if name in {"scheduled_for", "expires_at"} else value
        for name, value in given["options"].items()
    }
    return {**given, "options": options}


def complete(tenant: uuid.UUID, case: dict[str, Any]) -> dict[str, Any]:
    return {
        "event_type": "task.due_soon",
        "payload": TASK,
        "tenant": tenant,
        "audience": {"recipients": ["ada", "bob"]},
        "options": {},
        **case,
    }


def written(database: Database) -> list[Any]:
    """What an emit wrote, without what differs from one emit to the next."""
    events = database.query(
        "SELECT type, payload, audience, lane, scheduled_for, expires_at, matched, created, refused, "
        "idempotency_key, fanned_out_at IS NULL FROM notifier.notification_events"
    )
    deliveries = database.query(
        "SELECT r.external_id, d.channel, d.address, d.status, d.reason, d.locale "
        "FROM notifier.notification_deliveries d LEFT JOIN notifier.recipients r ON r.id = recipient_id "
        "ORDER BY 1, 2, 3"
    )
    dispatches = database.query(
        "SELECT kind, channel, lane, cardinality(delivery_ids) FROM notifier.dispatches ORDER BY 1, 2, 3"
    )
    return [events, deliveries, dispatches]


def clear(database: Database) -> None:
    with database.pool.begin() as connection:
        for table in ("dispatches", "notification_deliveries", "idempotency_keys"):
            connection.exec_driver_sql(f"DELETE FROM notifier.{table}")


@pytest.mark.parametrize("case", GOOD)
def test_every_face_writes_the_same_rows(
    database: Database, connection: Connection, tenant: uuid.UUID, case: str
) -> None:
    seen = []
    for place, face in enumerate(FACES):
        assert face(database, parsed(face, complete(tenant, GOOD[case]))) is None, face.__name__
        events, deliveries, dispatches = written(database)
        assert len(events) == place + 1
        seen.append([events[-1:], deliveries, dispatches])
        clear(database)
    assert seen.count(seen[0]) == len(FACES)


@pytest.mark.parametrize("case", BAD)
def test_every_face_refuses_alike_and_writes_nothing(
    database: Database, connection: Connection, tenant: uuid.UUID, case: str
) -> None:
    given, expected = BAD[case]
    for face in FACES:
        assert face(database, complete(tenant, given)) == expected, face.__name__
        assert written(database) == [[], [], []]


def test_a_reused_key_with_another_body_conflicts_on_every_face(
    database: Database, tenant: uuid.UUID
) -> None:
    for face in FACES:
        given = complete(tenant, {"options": {"idempotency_key": face.__name__}})
        assert face(database, given) is None
        assert face(database, given) is None
        other = {**given, "audience": {"recipients": ["eve"]}}
        assert face(database, other) == ("idempotency_conflict", "idempotency_key")
    assert database.one("SELECT count(*) FROM notifier.notification_events") == len(FACES)


def test_a_trigger_may_record_what_is_invalid_and_let_the_write_pass(
    database: Database, tenant: uuid.UUID
) -> None:
    with psycopg.connect(database.producer_url) as connection:
        answer = connection.execute(
            "SELECT notifier.emit_notification_event(%s, 'no.such', '{}', '\"subscribers\"', "
            '\'{"on_invalid": "record"}\')',
            (tenant,),
        ).fetchone()
    assert answer == (None,)
    (row,) = database.query("SELECT kind, detail FROM notifier.admin_system_events")
    assert (row.kind, row.detail["field"]) == ("emit_refused", "event_type")


def test_a_producers_login_can_emit_and_do_nothing_else(
    database: Database, tenant: uuid.UUID
) -> None:
    with psycopg.connect(database.producer_url, autocommit=True) as connection:
        assert connection.execute(
            "SELECT notifier.emit_notification_event(%s, 'task.due_soon', %s)",
            (tenant, json.dumps(TASK)),
        ).fetchone()
        for statement in (
            "SELECT * FROM notifier.notification_events",
            "INSERT INTO notifier.tenants (name) VALUES ('x')",
            "SELECT notifier.ensure_partitions(now(), now())",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
