"""What the engine itself keeps of a message: the inbox and the sandbox, written in bulk.

Both go in the transaction of the outcome, so an accepted message is kept exactly once.
"""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from notifier.store.addresses import shown
from notifier.words import Channel


@dataclass(frozen=True, slots=True)
class Kept:
    """One message to keep. parts: its rendered parts by name."""

    delivery_id: uuid.UUID
    tenant_id: uuid.UUID
    recipient_id: uuid.UUID | None
    event_type: str
    channel: str
    address: str
    attempt: int
    parts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Captured:
    """A message that the sandbox keeps.

    recipient: their external id; None where the message went to an address alone.
    address: None where it is a secret in itself.
    parts: as in `Kept`; `acknowledge_url` and `attachments`, the files' names, are among them.
    """

    delivery_id: uuid.UUID
    event_id: uuid.UUID
    event_type: str
    channel: Channel
    recipient: str | None
    address: str | None
    attempt: int
    parts: Mapping[str, str]
    created_at: datetime


def captured(
    connection: Connection,
    tenant: uuid.UUID,
    *,
    channel: Channel | None = None,
    recipient: str | None = None,
    limit: int,
) -> list[Captured]:
    """What the sandbox keeps of the tenant's, the newest first."""
    rows = connection.exec_driver_sql(
        "SELECT s.delivery_id, d.event_id, e.type, s.channel, r.external_id, "
        f"{shown('s')}, "
        "s.attempt, s.parts, s.created_at FROM notifier.sandbox_messages s "
        "JOIN notifier.notification_deliveries d ON d.id = s.delivery_id "
        "JOIN notifier.notification_events e ON e.id = d.event_id "
        "LEFT JOIN notifier.recipients r ON r.id = d.recipient_id "
        "WHERE s.tenant_id = %(tenant)s "
        "AND (%(channel)s::text IS NULL OR s.channel = %(channel)s::text) "
        "AND (%(recipient)s::text IS NULL OR r.external_id = %(recipient)s::text) "
        "ORDER BY s.delivery_id DESC LIMIT %(limit)s",
        {"tenant": tenant, "channel": channel, "recipient": recipient, "limit": limit},
    )
    return [Captured(row[0], row[1], row[2], Channel(row[3]), *row[4:]) for row in rows]


def keep_in_inbox(connection: Connection, kept: Sequence[Kept]) -> None:
    """Write inbox rows; one that is there already stays as it is, and nobody's is left out."""
    connection.exec_driver_sql(
        "INSERT INTO notifier.notifications (id, tenant_id, recipient_id, type, title, message) "
        "SELECT x.* FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], "
        "%s::text[]) AS x(id, tenant, recipient, type, title, message) "
        "JOIN notifier.recipients r ON r.id = x.recipient FOR KEY SHARE OF r "
        "ON CONFLICT (id) DO NOTHING",
        (
            [k.delivery_id for k in kept],
            [k.tenant_id for k in kept],
            [k.recipient_id for k in kept],
            [k.event_type for k in kept],
            [k.parts["title"] for k in kept],
            [k.parts["message"] for k in kept],
        ),
    )


def keep_in_sandbox(connection: Connection, kept: Sequence[Kept]) -> None:
    """Write the sandbox's captures."""
    connection.exec_driver_sql(
        "INSERT INTO notifier.sandbox_messages "
        "(delivery_id, tenant_id, channel, address, attempt, parts) "
        "SELECT x.id, x.tenant, x.channel, x.address, x.attempt, x.parts::jsonb "
        "FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::int[], %s::text[]) "
        "AS x(id, tenant, channel, address, attempt, parts) "
        "ON CONFLICT (delivery_id) DO UPDATE SET attempt = excluded.attempt, "
        "parts = excluded.parts, created_at = now()",
        (
            [k.delivery_id for k in kept],
            [k.tenant_id for k in kept],
            [k.channel for k in kept],
            [k.address for k in kept],
            [k.attempt for k in kept],
            [json.dumps(k.parts) for k in kept],
        ),
    )


KEEPERS: dict[str, Callable[[Connection, Sequence[Kept]], None]] = {
    "notifications": keep_in_inbox,
    "sandbox_messages": keep_in_sandbox,
}
"""How each table that a provider may name in `keeps` is written."""
