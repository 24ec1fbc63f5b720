"""What no program of ours would write: refused by name, taken as it stands, or no other's problem."""

import json
import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from sqlalchemy import Connection

from notifier import emit, relay
from notifier.errors import InvalidPayload, InvalidValue
from notifier.settings import Settings
from notifier.store import audience
from tests.conftest import Database
from tests.engine import configured, plain_type, run_for, sound, to, worker
from tests.test_emit import TASK

__all__ = ["configured", "sound"]


def emitted(
    database: Database, tenant: uuid.UUID, audience: str = '{"tenant": true}', options: str = "{}"
) -> None:
    """Emit from SQL, with JSON as it stands."""
    with psycopg.connect(database.producer_url) as producer:
        producer.execute(
            "SELECT notifier.emit_notification_event("
            "%s, 'task.due_soon', %s::jsonb, %s::jsonb, %s::jsonb)",
            (tenant, Jsonb(TASK), audience, options),
        )


@pytest.mark.parametrize(
    "audience_json",
    [
        "null",
        "1",
        "[]",
        "{}",
        '"x"',
        '{"recipients": null}',
        '{"recipients": {}}',
        '{"addresses": [1]}',
        '{"addresses": ["x"]}',
        '{"addresses": [null]}',
        '{"addresses": [[]]}',
        '{"addresses": [{}]}',
        '{"addresses": [{"channel": null, "address": null}]}',
        '{"addresses": [{"channel": "email", "address": "a@b.co", "locale": null}]}',
        '{"tenant": null}',
        '{"tenant": false}',
        '{"topics": [null]}',
        '{"except": ["ada"]}',
        '{"channels": []}',
        '{"tenant": true, "channels": []}',
        '{"tenant": true, "channels": null}',
        '{"subscribers": true, "channels": ["email"]}',
        '{"subscribers": false}',
        '{"recipients": [["ada"]]}',
        '{"recipients": [1e400]}',
        '{"tenant": true, "except": 7}',
    ],
)
def test_a_hostile_audience_is_refused_by_name(
    database: Database, tenant: uuid.UUID, audience_json: str
) -> None:
    with pytest.raises(psycopg.Error) as fault:
        emitted(database, tenant, audience_json)
    assert fault.value.sqlstate == "NT422"


@pytest.mark.parametrize(
    "options",
    [
        "null",
        "1",
        "[]",
        '"x"',
        "[1]",
        '{"lane": null}',
        '{"idempotency_key": ""}',
        '{"expires_at": "infinity"}',
        '{"expires_at": "2026-13-01T00:00:00Z"}',
    ],
)
def test_hostile_options_are_refused_by_name(
    database: Database, tenant: uuid.UUID, options: str
) -> None:
    with pytest.raises(psycopg.Error) as fault:
        emitted(database, tenant, options=options)
    assert fault.value.sqlstate == "NT422"


@pytest.mark.parametrize(
    ("audience_json", "created"),
    [
        ('{"recipients": []}', 0),
        ('{"recipients": ["ada", "ada"], "except": ["ada"]}', 0),
        ('{"addresses": []}', 0),
        ('{"topics": []}', 0),
        ('{"tenant": true, "channels": ["email", "email"]}', 3),
        ('{"tenant": true, "recipients": ["ada", "ada"], "except": ["ada", "bob", "eve"]}', 0),
    ],
)
def test_an_audience_of_nobody_or_of_repeats_is_taken(
    database: Database, tenant: uuid.UUID, audience_json: str, created: int
) -> None:
    emitted(database, tenant, audience_json)
    assert sum(database.statuses().values()) == created


HOSTILE = {"nested": "[" * 5000 + "]" * 5000, "digits": "9" * 5000}
"""JSON that Postgres holds and Python's parser does not."""


@pytest.mark.parametrize("payload", HOSTILE)
def test_an_event_no_worker_can_load_holds_up_no_other(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    payload: str,
) -> None:
    """Emit refuses such a payload: this one was written by another hand."""
    plain_type(database, "test.open")
    event = emit(connection, "test.open", {}, tenant=tenant, to={"recipients": ["ada"]})
    for name in ("bob", "eve"):
        to(connection, tenant, [name])
    with psycopg.connect(database.admin_url) as admin:
        admin.execute(
            "UPDATE notifier.notification_events SET payload = %s::jsonb WHERE id = %s",
            (f'{{"a": {HOSTILE[payload]}}}', event.id),
        )
    relay.relay_once(configured)
    run_for(database, worker(configured), rounds=30)
    assert database.statuses()["sent"] == 2
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (HOSTILE["nested"], "at most 100 nested levels"),
        (HOSTILE["digits"], "numbers of at most 1000 digits"),
        ("-" + HOSTILE["digits"], "numbers of at most 1000 digits"),
        ('[1, {"b": 1e1000}, "' + "x" * 1000 + '"]', "numbers of at most 1000 digits"),
        ("[" * 100 + "]" * 100, "at most 100 nested levels"),
        ('{"b":' * 99 + "[]" + "}" * 99, "at most 100 nested levels"),
        ("[" * 99 + "]" * 99, None),
        ("9" * 1000, None),
        (f'"{HOSTILE["digits"]}"', None),
        (f'"{HOSTILE["nested"]}"', None),
        ("1e-1000", None),
        (f"[{'[],' * 5000} {'9' * 1000}]", None),
    ],
    ids=range(12),
)
def test_a_payload_no_worker_could_load_is_refused_by_name(
    database: Database, tenant: uuid.UUID, value: str, expected: str | None
) -> None:
    plain_type(database, "test.open")
    with psycopg.connect(database.producer_url) as producer:
        found = producer.execute(
            "SELECT error_code, error_field, error_expected FROM notifier.emit("
            "%s, 'test.open', %s::jsonb, '{\"recipients\": [\"ada\"]}', '{}')",
            (str(tenant), f'{{"fine": 1, "a": {value}}}'),
        ).fetchone()
    assert found == (("invalid_payload", "payload.a", expected) if expected else (None,) * 3)
    if expected is None:
        ((payload,),) = database.query("SELECT payload FROM notifier.notification_events")
        assert json.dumps(payload)


def test_attributes_no_worker_could_load_are_refused_by_name(
    connection: Connection, tenant: uuid.UUID
) -> None:
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    for value in (deep, 10**2000):
        given: list[dict[str, Any]] = [
            {"external_id": "a"},
            {"external_id": "b", "attributes": {"fine": 1, "x": value}},
        ]
        with pytest.raises(InvalidValue) as refusal:
            audience.upsert_recipients(connection, tenant, given)
        assert refusal.value.field == "recipients[1].attributes.x"


def test_nesting_without_end_is_refused_before_it_reaches_the_database(
    connection: Connection, tenant: uuid.UUID
) -> None:
    payload: dict[str, Any] = {}
    for _ in range(20_000):
        payload = {"a": payload}
    with pytest.raises(InvalidPayload) as refusal:
        emit(connection, "task.due_soon", payload, tenant=tenant)
    assert refusal.value.field == "payload"
    to(connection, tenant, ["ada"])


def test_a_template_no_worker_can_compile_holds_up_no_other(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada", "bob"])
    broken = database.one("SELECT notifier.new_id()")
    with psycopg.connect(database.admin_url) as admin:
        admin.execute(
            "INSERT INTO notifier.templates SELECT (jsonb_populate_record(t, jsonb_build_object("
            "'id', %s::text, 'version', 999, 'parts', (SELECT jsonb_object_agg(k, '{%% if') "
            "FROM jsonb_object_keys(t.parts) k)))).* FROM notifier.templates t "
            "WHERE t.id = (SELECT template_id FROM notifier.notification_deliveries LIMIT 1)",
            (str(broken),),
        )
        admin.execute(
            "UPDATE notifier.notification_deliveries SET template_id = %s WHERE address LIKE 'ada%%'",
            (broken,),
        )
    run_for(database, worker(configured), rounds=10)
    assert database.statuses() == {"sent": 1, "failed": 1}
