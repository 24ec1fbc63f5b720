"""What the sandbox has captured, as a list and as a page that shows how each message would look."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from notifier.channels import slack_blocks, sms, teams
from notifier.channels.contract import Message
from notifier.errors import InvalidValue
from notifier.rendering import gallery
from notifier.store import captures, tenants
from notifier.store.captures import Captured
from notifier.words import Channel

MOST = 1000


def listed(
    connection: Connection,
    tenant: uuid.UUID,
    *,
    channel: Channel | None = None,
    recipient: str | None = None,
    limit: int = 100,
) -> list[Captured]:
    """The tenant's captured messages, the newest first.

    recipient: the external id of whom they were for. limit: 1 to 1000.
    Raises `InvalidValue`.
    """
    if not 1 <= limit <= MOST:
        raise InvalidValue("limit", f"a number from 1 to {MOST}")
    return captures.captured(connection, tenant, channel=channel, recipient=recipient, limit=limit)


def page(connection: Connection, tenant: uuid.UUID, messages: Sequence[Captured]) -> str:
    """A page of HTML that loads nothing from anywhere: how each of these messages would look."""
    name = tenants.name_of(connection, tenant)
    return gallery.page(str(name), [{**_about(each), **_look(each)} for each in messages])


def _about(captured: Captured) -> dict[str, Any]:
    return {
        "channel": captured.channel,
        "event_type": captured.event_type,
        "to": captured.address or captured.recipient,
        "delivery_id": captured.delivery_id,
        "attempt": captured.attempt,
        "created_at": captured.created_at,
        "attachments": captured.parts.get("attachments"),
    }


def _look(captured: Captured) -> Mapping[str, Any]:
    """What of the message the page needs; a chat's is what its provider would be sent."""
    parts = captured.parts
    match captured.channel:
        case Channel.SMS:
            return {"text": parts["text"], "size": sms.size(parts["text"])}
        case Channel.WEBHOOK:
            body = json.loads(parts["body"])
            return {"body": json.dumps(body, indent=2, ensure_ascii=False)}
        case Channel.SLACK:
            return {"blocks": slack_blocks.compose(_message(captured), button=True)["blocks"]}
        case Channel.TEAMS:
            envelope = json.loads(teams.compose(_message(captured)))
            return {"card": envelope["attachments"][0]["content"]}
    return {"parts": parts}


def _message(captured: Captured) -> Message:
    """The message as its provider was given it, as far as that can be seen."""
    return Message(
        delivery_id=captured.delivery_id,
        event_id=captured.event_id,
        tenant_id=uuid.UUID(int=0),
        event_type=captured.event_type,
        channel=captured.channel,
        address="",
        parts=captured.parts,
        attempt=captured.attempt,
        correlation_id="",
        acknowledge_url=captured.parts.get("acknowledge_url"),
    )
