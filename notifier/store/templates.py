"""Event types and templates: registered once, read by id ever after."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

_VERSION = "id, event_type, channel, locale, version, tenant_id IS NOT NULL AS is_own, created_at"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a template. is_own: a tenant's, else shared by all."""

    id: uuid.UUID
    event_type: str
    channel: str
    locale: str
    version: int
    is_own: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EventType:
    """What templates of an event type have to suit.

    schema: of the payload. example: a payload that fits it, where the event type has one.
    mutable: whether recipients may turn it off. escalates: whether it asks to be acknowledged.
    """

    schema: Mapping[str, Any]
    example: Mapping[str, Any] | None
    mutable: bool
    escalates: bool


def put_event_type(
    connection: Connection,
    name: str,
    *,
    description: str,
    category: str,
    schema: Mapping[str, Any],
    channels: Sequence[str],
    lane: str,
    mutable: bool,
    escalation: Sequence[Mapping[str, Any]],
    example: Mapping[str, Any] | None,
) -> None:
    """Register an event type, or replace what is registered under its name."""
    connection.exec_driver_sql(
        "INSERT INTO notifier.event_types "
        "(name, description, category, schema, channels, lane, mutable, escalation, example) "
        "VALUES (%s, %s, %s, %s::jsonb, %s, %s, %s, nullif(%s::jsonb, '[]'), %s::jsonb) "
        "ON CONFLICT (name) DO UPDATE SET description = excluded.description, "
        "category = excluded.category, schema = excluded.schema, channels = excluded.channels, "
        "lane = excluded.lane, mutable = excluded.mutable, escalation = excluded.escalation, "
        "example = excluded.example, updated_at = now() "
        "WHERE (event_types.description, event_types.category, event_types.schema, "
        "event_types.channels, event_types.lane, event_types.mutable, event_types.escalation, "
        "event_types.example) IS DISTINCT FROM (excluded.description, excluded.category, "
        "excluded.schema, excluded.channels, excluded.lane, excluded.mutable, excluded.escalation, "
        "excluded.example)",
        (
            name,
            description,
            category,
            json.dumps(schema),
            list(channels),
            lane,
            mutable,
            json.dumps([dict(step) for step in escalation]),
            None if example is None else json.dumps(example),
        ),
    )


def escalation_problem(
    connection: Connection, escalation: Sequence[Mapping[str, Any]]
) -> tuple[str, str] | None:
    """What is wrong with an escalation: the field, and what was expected. By the rules of emit."""
    wrong = connection.exec_driver_sql(
        "SELECT notifier.escalation_problem(%s::jsonb)",
        (json.dumps([dict(step) for step in escalation]),),
    ).scalar_one()
    return None if wrong is None else (wrong[0], wrong[1])


def put_template(
    connection: Connection,
    event_type: str,
    channel: str,
    locale: str,
    parts: Mapping[str, str],
    tenant_id: uuid.UUID | None = None,
) -> None:
    """Add a version of a template, unless its newest version says the same."""
    connection.exec_driver_sql(
        "INSERT INTO notifier.templates (tenant_id, event_type, channel, locale, version, parts) "
        "SELECT %(tenant)s::uuid, %(type)s, %(channel)s, %(locale)s, "
        "coalesce(max(t.version), 0) + 1, %(parts)s::jsonb FROM notifier.templates t "
        "WHERE t.tenant_id IS NOT DISTINCT FROM %(tenant)s::uuid AND t.event_type = %(type)s "
        "AND t.channel = %(channel)s AND t.locale = %(locale)s "
        "HAVING (array_agg(t.parts ORDER BY t.version DESC))[1] IS DISTINCT FROM %(parts)s::jsonb",
        {
            "tenant": tenant_id,
            "type": event_type,
            "channel": channel,
            "locale": locale,
            "parts": json.dumps(dict(parts)),
        },
    )


def add_version(
    connection: Connection,
    tenant: uuid.UUID,
    event_type: str,
    channel: str,
    locale: str,
    parts: Mapping[str, str],
) -> Version:
    """The newest version of the tenant's own template, made to say `parts`."""
    key = f"template {tenant} {event_type} {channel} {locale}"
    # Two who save at once would both count the same next version.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (key,))
    put_template(connection, event_type, channel, locale, parts, tenant)
    row = connection.exec_driver_sql(
        f"SELECT {_VERSION} FROM notifier.templates WHERE tenant_id = %s AND event_type = %s "
        "AND channel = %s AND locale = %s ORDER BY version DESC LIMIT 1",
        (tenant, event_type, channel, locale),
    ).one()
    return Version(*row)


def versions(
    connection: Connection, tenant: uuid.UUID, event_type: str, newest: int
) -> list[Version]:
    """The tenant's own and the shared templates of an event type, of each the newest versions."""
    rows = connection.exec_driver_sql(
        f"SELECT {_VERSION} FROM (SELECT id, event_type, channel, locale, version, tenant_id, "
        "created_at, row_number() OVER "
        "(PARTITION BY channel, locale, tenant_id ORDER BY version DESC) AS place "
        "FROM notifier.templates WHERE event_type = %s "
        "AND (tenant_id = %s OR tenant_id IS NULL)) t WHERE place <= %s "
        "ORDER BY channel, locale, tenant_id NULLS LAST, version DESC",
        (event_type, tenant, newest),
    )
    return [Version(*row) for row in rows]


def version(
    connection: Connection, tenant: uuid.UUID, template: uuid.UUID
) -> tuple[Version, dict[str, str]] | None:
    """One version, the tenant's own or a shared one, with its parts."""
    row = connection.exec_driver_sql(
        f"SELECT {_VERSION}, parts FROM notifier.templates "
        "WHERE id = %s AND (tenant_id = %s OR tenant_id IS NULL)",
        (template, tenant),
    ).one_or_none()
    return None if row is None else (Version(*row[:-1]), row[-1])


def pick(
    connection: Connection, tenant: uuid.UUID, event_type: str, channel: str, locale: str
) -> uuid.UUID | None:
    """The version that a delivery would take."""
    found: uuid.UUID | None = connection.exec_driver_sql(
        "SELECT notifier.pick_template(%s, %s, %s, %s)", (tenant, event_type, channel, locale)
    ).scalar_one()
    return found


def payload_problem(
    connection: Connection, schema: Mapping[str, Any], payload: Mapping[str, Any]
) -> tuple[str, str] | None:
    """The first place where the payload breaks the schema, and what was expected there."""
    found = connection.exec_driver_sql(
        "SELECT notifier.check_payload(%s::jsonb, %s::jsonb, 'payload')",
        (json.dumps(schema), json.dumps(payload)),
    ).scalar_one()
    return None if found is None else (found[0], found[1])


def template_parts(
    connection: Connection, ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, dict[str, str]]:
    """The parts of templates by id; a template never changes under its id."""
    rows = connection.exec_driver_sql(
        "SELECT t.id, t.parts FROM unnest(%s::uuid[]) AS x(id) "
        "JOIN notifier.templates t ON t.id = x.id",
        (list(ids),),
    )
    return {row[0]: row[1] for row in rows}


def event_types(connection: Connection) -> list[dict[str, Any]]:
    """Every registered event type by name, its payload schema included."""
    rows = connection.exec_driver_sql(
        "SELECT name, description, category, schema AS payload_schema, example, channels, lane, "
        "mutable, coalesce(escalation, '[]') AS escalation FROM notifier.event_types ORDER BY name"
    ).mappings()
    return [dict(row) for row in rows]


def event_type(connection: Connection, name: str) -> EventType | None:
    """The event type registered under the name."""
    row = connection.exec_driver_sql(
        "SELECT schema, example, mutable, escalation IS NOT NULL "
        "FROM notifier.event_types WHERE name = %s",
        (name,),
    ).one_or_none()
    return None if row is None else EventType(*row)


def is_event_type(connection: Connection, name: str) -> bool:
    """Whether an event type of that name is registered."""
    return bool(
        connection.exec_driver_sql(
            "SELECT EXISTS (SELECT FROM notifier.event_types t WHERE t.name = %s)", (name,)
        ).scalar_one()
    )
