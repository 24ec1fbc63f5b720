"""A delivery made into a message: its template, pinned at fan-out, rendered with its data."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from notifier import unsubscribe
from notifier.channels.contract import Attachment, Message
from notifier.errors import NotifierError
from notifier.rendering import RenderError, Template, compile_template
from notifier.store import templates
from notifier.store.deliveries import Loaded, LoadedEvent
from notifier.words import Channel, Lane

_KEPT = 4096
_compiled: dict[uuid.UUID, Template | RenderError] = {}
"""What a template's parts compile to, or why they do not."""


class NoTemplate(NotifierError):
    """The event type has no template for the channel."""


def learn_templates(connection: Connection, loaded: Iterable[Loaded]) -> None:
    """Compile the templates of `loaded` that this process has not met yet.

    One that does not compile is the problem of its own deliveries: `compose` raises what is wrong.
    """
    needed = {d.template_id for d in loaded if d.template_id is not None}
    if len(_compiled) > _KEPT:
        _compiled.clear()
    wanted = needed - _compiled.keys()
    if not wanted:
        return
    for template_id, parts in templates.template_parts(connection, list(wanted)).items():
        try:
            _compiled[template_id] = compile_template(parts)
        except RenderError as error:
            _compiled[template_id] = error


def shared_context(event: LoadedEvent) -> dict[str, Any]:
    """The part of the template's variables that all deliveries of an event share."""
    return {
        **event.payload,
        "event": {
            "id": str(event.id),
            "type": event.type,
            "created_at": event.created_at.isoformat(),
        },
        "tenant": {"id": str(event.tenant_id), "name": event.tenant_name},
    }


def compose(
    delivery: Loaded,
    event: LoadedEvent,
    shared: Mapping[str, Any],
    channel: Channel,
    lane: Lane,
    acknowledge_url: str | None,
    token: str | None,
    attachments: Sequence[Attachment] = (),
) -> Message:
    """The message of a delivery; raises `RenderError` or `NoTemplate`.

    shared: the event's `shared_context`, made once for all its deliveries.
    token: of the account that its tenant has connected.
    attachments: the event's.
    """
    unsubscribe_url = (
        unsubscribe.url(delivery.id) if channel is Channel.EMAIL and event.mutable else None
    )
    if channel is Channel.WEBHOOK:
        parts = {"body": _body(delivery, event)}
    else:
        template = _compiled.get(delivery.template_id) if delivery.template_id else None
        if template is None:
            raise NoTemplate(f"{event.type}: expected a template for {channel}")
        if isinstance(template, RenderError):
            raise RenderError(template.part, template.line, template.problem)
        parts = template.render(
            {
                **shared,
                "recipient": delivery.recipient,
                "unsubscribe_url": unsubscribe_url,
                "acknowledge_url": acknowledge_url,
            }
        )
    return Message(
        **_facts(delivery, event, channel),
        parts=parts,
        attempt=delivery.attempts + 1,
        secret=delivery.secret,
        token=token,
        unsubscribe_url=unsubscribe_url,
        acknowledge_url=acknowledge_url,
        expires_at=event.expires_at,
        urgent=lane is Lane.CRITICAL,
        attachments=attachments,
    )


def question(delivery: Loaded, event: LoadedEvent, channel: Channel) -> Message:
    """The attempt in doubt, to ask its provider about: the row counts it already, and it has no
    parts, because what was rendered then need not render now.
    """
    return Message(**_facts(delivery, event, channel), parts={}, attempt=delivery.attempts)


def _facts(delivery: Loaded, event: LoadedEvent, channel: Channel) -> dict[str, Any]:
    """What every message of a delivery says of it."""
    return {
        "delivery_id": delivery.id,
        "event_id": event.id,
        "tenant_id": delivery.tenant_id,
        "event_type": event.type,
        "channel": channel,
        "address": delivery.address,
        "correlation_id": event.correlation_id,
        "recipient_id": delivery.recipient_id,
    }


def _body(delivery: Loaded, event: LoadedEvent) -> str:
    """The JSON an endpoint receives (the shape that Standard Webhooks proposes)."""
    return json.dumps(
        {
            "type": event.type,
            "timestamp": event.created_at.isoformat(),
            "data": event.payload,
            "event_id": str(event.id),
            "delivery_id": str(delivery.id),
            "recipient": delivery.recipient["external_id"],
            "correlation_id": event.correlation_id,
        },
        separators=(",", ":"),
    )
