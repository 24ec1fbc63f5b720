"""Register event types and their templates: checked here, once, so that nothing fails later."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from notifier import catalogue, templates
from notifier.errors import InvalidValue
from notifier.schema import check_schema
from notifier.store import templates as store
from notifier.words import Channel, Lane

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


def event_type(
    connection: Connection,
    name: str,
    *,
    schema: Mapping[str, Any],
    channels: Sequence[str],
    description: str = "",
    category: str = "general",
    lane: str = Lane.NORMAL,
    mutable: bool = True,
    escalation: Sequence[Mapping[str, Any]] = (),
    example: Mapping[str, Any] | None = None,
    texts: Mapping[str, Mapping[str, str]] | None = None,
    locale: str = "en",
) -> None:
    """Register `name` (domain.action) in the caller's transaction, or replace its registration.

    schema: of the payload, in the subset of JSON Schema that `notifier.schema` describes.
    channels: where it goes where neither the emit nor a preference says otherwise.
    mutable: whether recipients may turn it off.
    escalation: steps of {"after": seconds, "channels": […], "unless": "acknowledged"}, each that
        long after the one before. `unless` leaves out whom an earlier step has reached: "delivered"
        or "seen"; whatever it is, an acknowledgement stops all of it.
    example: a payload that fits the schema; texts are tried with it, these and those of tenants.
    texts: for each channel, or `short` for all that have none of their own, its parts; they need an
        example. What was registered in that locale before stays as an earlier version.
    Raises `InvalidValue` naming the field, `InvalidTemplate` telling part and line of each fault.
    """
    if not _NAME.fullmatch(name):
        raise InvalidValue("name", "a name of the form domain.action")
    if problems := check_schema(schema):
        raise InvalidValue(problems[0].path, problems[0].expected)
    for place, channel in enumerate(channels):
        if channel not in set(Channel):
            raise InvalidValue(f"channels[{place}]", f"one of {', '.join(Channel)}")
    if lane not in set(Lane):
        raise InvalidValue("lane", f"one of {', '.join(Lane)}")
    if wrong := store.escalation_problem(connection, escalation):
        raise InvalidValue(*wrong)
    if example is not None and (wrong := store.payload_problem(connection, schema, example)):
        field, expected = wrong
        raise InvalidValue("example" + field.removeprefix("payload"), expected)
    tag = templates.tag_of(locale)
    for channel, parts in (texts or {}).items():
        if example is None:
            raise InvalidValue("example", "a payload that fits the schema, to try `texts` with")
        templates.check_channel(f"texts.{channel}", channel)
        templates.check(f"texts.{channel}", channel, parts, schema, example)
    store.put_event_type(
        connection,
        name,
        description=description,
        category=category,
        schema=schema,
        channels=channels,
        lane=lane,
        mutable=mutable,
        escalation=escalation,
        example=example,
    )
    for channel, parts in (texts or {}).items():
        store.put_template(connection, name, channel, tag, parts)


def shipped(connection: Connection) -> int:
    """Register the shipped catalogue, which its tests have checked; how many event types it has."""
    types = catalogue.load()
    for kind in types:
        store.put_event_type(
            connection,
            kind.type,
            description=kind.description,
            category=kind.category,
            schema=kind.schema,
            channels=kind.channels,
            lane=kind.lane,
            mutable=kind.mutable,
            escalation=kind.escalation,
            example=kind.example,
        )
        for channel, parts in kind.templates.items():
            store.put_template(connection, kind.type, channel, "en", parts)
    return len(types)
