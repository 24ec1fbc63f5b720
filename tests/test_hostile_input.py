"""Audiences and options no program of ours would send: refused by name, or taken as they stand."""

import uuid

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.conftest import Database
from tests.test_emit import TASK


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
    with psycopg.connect(database.producer_url) as producer:
        with pytest.raises(psycopg.Error) as fault:
            producer.execute(
                "SELECT notifier.emit_notification_event(%s, 'task.due_soon', %s::jsonb, %s::jsonb)",
                (tenant, Jsonb(TASK), audience_json),
            )
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
    with psycopg.connect(database.producer_url) as producer:
        with pytest.raises(psycopg.Error) as fault:
            producer.execute(
                "SELECT notifier.emit_notification_event(%s, 'task.due_soon', %s::jsonb, "
                "'{\"tenant\": true}', %s::jsonb)",
                (tenant, Jsonb(TASK), options),
            )
        assert fault.value.sqlstate == "NT422"


@pytest.mark.parametrize(
    "audience_json",
    [
        '{"recipients": []}',
        '{"recipients": ["ada", "ada"], "except": ["ada"]}',
        '{"addresses": []}',
        '{"topics": []}',
        '{"tenant": true, "channels": ["email", "email"]}',
        '{"tenant": true, "recipients": ["ada", "ada"], "except": ["ada", "bob", "eve"]}',
    ],
)
def test_an_audience_of_nobody_or_of_repeats_is_taken(
    database: Database, tenant: uuid.UUID, audience_json: str
) -> None:
    with psycopg.connect(database.producer_url) as producer:
        producer.execute(
            "SELECT notifier.emit_notification_event(%s, 'task.due_soon', %s::jsonb, %s::jsonb)",
            (tenant, Jsonb(TASK), audience_json),
        )
    assert sum(database.statuses().values()) in (0, 3)
