"""A tenant's own texts: checked when they are saved, kept as versions, shown before they go out."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from notifier.channels.sms import Size
from notifier.channels.sms import size as sms_size
from notifier.errors import (
    InvalidPayload,
    InvalidTemplate,
    InvalidValue,
    NotFoundError,
    UnknownEventType,
)
from notifier.rendering import (
    PARTS,
    SHORT,
    RenderError,
    check_parts,
    check_rendered,
    check_template,
    compile_template,
    sample_context,
)
from notifier.store import audience, templates, tenants
from notifier.store.templates import EventType, Version
from notifier.words import LONGEST_LOCALE, Channel, is_locale, locale_tag

LISTED = 20
"""Versions of a template that are listed, the newest first."""
TOLD = 10
"""Faults of a template that are told at once."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A message as a recipient would get it.

    template: the version that was rendered; None where its parts were given.
    sms: how long the text is by SMS, where that is the channel.
    """

    parts: Mapping[str, str]
    template: Version | None
    sms: Size | None

    def facts(self) -> dict[str, Any]:
        """What the faces answer with."""
        size = self.sms
        return {
            "parts": dict(self.parts),
            "template": self.template and asdict(self.template),
            "sms": size
            and {"encoding": size.encoding, "units": size.units, "segments": size.segments},
        }


def listed(connection: Connection, tenant: uuid.UUID, event_type: str) -> list[Version]:
    """The newest versions of an event type's templates: the tenant's own and the shared ones."""
    _event_type(connection, event_type)
    return templates.versions(connection, tenant, event_type, LISTED)


def find(
    connection: Connection, tenant: uuid.UUID, template: uuid.UUID
) -> tuple[Version, dict[str, str]]:
    """A version and its parts; raises `NotFoundError` for another tenant's."""
    found = templates.version(connection, tenant, template)
    if found is None:
        raise NotFoundError("template", "the id of a version of the tenant's own or a shared one")
    return found


def save(
    connection: Connection,
    tenant: uuid.UUID,
    event_type: str,
    channel: str,
    locale: str,
    parts: Mapping[str, str],
    payload: Mapping[str, Any] | None = None,
) -> Version:
    """Make `parts` what the tenant says from the next fan-out on; what was fanned out stays.

    channel: or `short`, for the channels that have no template, neither shared nor the tenant's.
    payload: an example; needed for event types that have none.
    The same parts again are the same version. Raises `InvalidTemplate` telling part and line of
    each fault, `UnknownEventType`, `InvalidPayload` or `InvalidValue`.
    """
    kind = _event_type(connection, event_type)
    check_channel("channel", channel)
    tag = tag_of(locale)
    check("parts", channel, parts, kind.schema, _example(connection, kind, payload))
    return templates.add_version(connection, tenant, event_type, channel, tag, parts)


def restore(connection: Connection, tenant: uuid.UUID, template: uuid.UUID) -> Version:
    """Make the parts of an earlier version, or of a shared one, the tenant's newest again.

    They were checked when they were saved, and are not again: the event type may be another now.
    """
    version, parts = find(connection, tenant, template)
    return templates.add_version(
        connection, tenant, version.event_type, version.channel, version.locale, parts
    )


def preview(
    connection: Connection,
    tenant: uuid.UUID,
    event_type: str,
    channel: str,
    *,
    locale: str = "en",
    timezone: str = "UTC",
    payload: Mapping[str, Any] | None = None,
    parts: Mapping[str, str] | None = None,
) -> Preview:
    """What a recipient of that locale and time zone would get; nothing is sent or written.

    payload: else the event type's example. parts: not saved yet, and checked as `save` does; else
        what a delivery would take.
    Raises what `save` raises, and `NotFoundError` where the channel has no template.
    """
    kind = _event_type(connection, event_type)
    check_channel("channel", channel)
    tag = tag_of(locale)
    if not audience.is_timezone(timezone):
        raise InvalidValue("timezone", "an IANA time zone (Europe/Paris)")
    example = _example(connection, kind, payload)
    template = None
    if parts is None:
        picked = templates.pick(connection, tenant, event_type, channel, tag)
        if picked is None:
            raise NotFoundError("channel", "one that the event type has a template for")
        template, parts = find(connection, tenant, picked)
    else:
        check("parts", channel, parts, kind.schema, example)
    mail = channel == Channel.EMAIL and kind.mutable
    context = sample_context(
        example,
        timezone=timezone,
        locale=tag,
        unsubscribe_url="https://example.com/unsubscribe" if mail else None,
        acknowledge_url="https://example.com/acknowledge" if kind.escalates else None,
    )
    context["event"]["type"] = event_type
    context["tenant"] = {"id": str(tenant), "name": tenants.name_of(connection, tenant)}
    try:
        rendered = compile_template(parts).render(context)
    except RenderError as error:
        raise _faulty("parts", [str(error)]) from None
    by_sms = channel in (Channel.SMS, SHORT)
    return Preview(rendered, template, sms_size(rendered.get("text", "")) if by_sms else None)


def check(
    field: str,
    channel: str,
    parts: Mapping[str, str],
    schema: Mapping[str, Any],
    example: Mapping[str, Any],
) -> None:
    """Raise `InvalidTemplate` of that field where a template has faults."""
    problems = check_parts(channel, parts) or check_template(parts, schema, example)
    if not problems:
        rendered = compile_template(parts).render(sample_context(example))
        problems = check_rendered(channel, rendered)
    if problems:
        raise _faulty(field, problems)


def check_channel(field: str, channel: str) -> None:
    if channel not in PARTS:
        raise InvalidValue(field, f"one of {', '.join(PARTS)}")


def tag_of(locale: str) -> str:
    """The locale as templates are stored by it."""
    if not is_locale(locale):
        raise InvalidValue("locale", f"a language tag (de-AT) of at most {LONGEST_LOCALE} letters")
    return locale_tag(locale)


def _event_type(connection: Connection, name: str) -> EventType:
    found = templates.event_type(connection, name)
    if found is None:
        raise UnknownEventType("event_type", "the name of a registered event type")
    return found


def _example(
    connection: Connection, kind: EventType, payload: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    if payload is not None:
        problem = templates.payload_problem(connection, kind.schema, payload)
        if problem is not None:
            raise InvalidPayload(*problem)
        return payload
    # Who registered it with an older release may have changed the schema alone.
    if kind.example is None or templates.payload_problem(connection, kind.schema, kind.example):
        raise InvalidValue("payload", "an example, as this event type has none")
    return kind.example


def _faulty(field: str, problems: list[str]) -> InvalidTemplate:
    return InvalidTemplate(field, f"a template without faults ({'; '.join(problems[:TOLD])})")
