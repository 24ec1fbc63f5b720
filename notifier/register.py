"""Register event types and their templates: checked here, once, so that nothing fails later."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from notifier import catalogue
from notifier.errors import InvalidValue
from notifier.schema import check_schema
from notifier.store import templates
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
    texts: Mapping[str, Mapping[str, str]] | None = None,
    locale: str = "en",
) -> None:
    """Register `name` (domain.action) in the caller's transaction, or replace its registration.

    escalation: steps of {"after": seconds, "channels": […], "unless": "acknowledged"}, each that
        long after the one before. `unless` leaves out whom an earlier step has reached: "delivered"
        or "seen"; whatever it is, an acknowledgement stops all of it.
    texts: for each channel, or `short` for all that have none of their own, its parts.
    Raises `InvalidValue` naming the field.
    """
    if not _NAME.fullmatch(name):
        raise InvalidValue("name", "a name of the form domain.action")
    if problems := check_schema(schema):
        raise InvalidValue(f"schema{problems[0].path}", problems[0].expected)
    for place, channel in enumerate(channels):
        if channel not in set(Channel):
            raise InvalidValue(f"channels[{place}]", f"one of {', '.join(Channel)}")
    if lane not in set(Lane):
        raise InvalidValue("lane", f"one of {', '.join(Lane)}")
    if wrong := templates.escalation_problem(connection, escalation):
        raise InvalidValue(*wrong)
    templates.put_event_type(
        connection,
        name,
        description=description,
        category=category,
        schema=schema,
        channels=channels,
        lane=lane,
        mutable=mutable,
        escalation=escalation,
    )
    for channel, parts in (texts or {}).items():
        templates.put_template(connection, name, channel, locale, parts)


def shipped(connection: Connection) -> int:
    """Register the shipped catalogue; how many event types it has."""
    types = catalogue.load()
    for kind in types:
        event_type(
            connection,
            kind.type,
            schema=kind.schema,
            channels=kind.channels,
            description=kind.description,
            category=kind.category,
            lane=kind.lane,
            mutable=kind.mutable,
            escalation=kind.escalation,
            texts=kind.templates,
        )
    return len(types)
