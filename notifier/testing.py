"""For producers' own tests: see what was emitted, without sending anything.

Works inside the test's own transaction, on the connection the code under test emits with, so a
test may roll everything back. Nothing is sent unless a relay and workers run.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Emitted", "Planned", "assert_emitted", "assert_nothing_emitted", "emitted", "planned"]


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event of the log."""

    id: uuid.UUID
    type: str
    payload: dict[str, Any]
    tenant_id: uuid.UUID
    idempotency_key: str | None
    matched: int
    created: int
    refused: int


@dataclass(frozen=True, slots=True)
class Planned:
    """A delivery of an event: to be sent, or refused for `reason`."""

    recipient: str | None
    channel: str
    address: str | None
    status: str
    reason: str | None


def emitted(connection: Any, event_type: str | None = None) -> list[Emitted]:
    """The events that `connection` sees, oldest first; of one type where given.

    connection: a SQLAlchemy `Session` or `Connection` of a login that may read the engine's tables.
    """
    rows = _rows(
        connection,
        "SELECT id, type, payload, tenant_id, idempotency_key, matched, created, refused "
        "FROM notifier.notification_events WHERE CAST(:type AS text) IS NULL OR type = :type "
        "ORDER BY id",
        type=event_type,
    )
    return [Emitted(*row) for row in rows]


def planned(connection: Any, event: uuid.UUID) -> list[Planned]:
    """The deliveries of an event, refused ones included, by recipient and channel."""
    rows = _rows(
        connection,
        "SELECT r.external_id, d.channel, d.address, d.status, d.reason "
        "FROM notifier.notification_deliveries d "
        "LEFT JOIN notifier.recipients r ON r.id = d.recipient_id "
        "WHERE d.event_id = :event ORDER BY r.external_id, d.channel, d.address",
        event=event,
    )
    return [Planned(*row) for row in rows]


def assert_emitted(
    connection: Any, event_type: str, payload: Mapping[str, Any] | None = None, times: int = 1
) -> list[Emitted]:
    """Fail unless exactly `times` events of the type were emitted; those events.

    payload: where given, every item of it must stand in each event's payload.
    """
    found = emitted(connection, event_type)
    matching = [
        event
        for event in found
        if all(
            key in event.payload and event.payload[key] == value
            for key, value in (payload or {}).items()
        )
    ]
    if len(matching) != times:
        others: list[object] = [event.payload for event in found]
        others = others or [event.type for event in emitted(connection)]
        raise AssertionError(
            f"expected {times} {event_type} with {dict(payload or {})}, found {len(matching)}; "
            f"emitted: {others}"
        )
    return matching


def assert_nothing_emitted(connection: Any, event_type: str | None = None) -> None:
    """Fail where an event (of the type, where given) was emitted."""
    found = emitted(connection, event_type)
    if found:
        raise AssertionError(f"expected no {event_type or 'event'}, found {found}")


def _rows(connection: Any, statement: str, **values: Any) -> list[Any]:
    from sqlalchemy import text

    return list(connection.execute(text(statement), values).all())
