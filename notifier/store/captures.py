"""What the engine itself keeps of a message: the inbox and the sandbox, written in bulk.

Both go in the transaction of the outcome, so an accepted message is kept exactly once.
"""

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection


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
