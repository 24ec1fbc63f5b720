"""Emit an event in the caller's own transaction; it commits or rolls back with the rest of it.

All rules are in the SQL function `notifier.emit`, which triggers and every other face call too.
This module stays light: producers import it, so nothing heavy is loaded before it is needed.
"""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from notifier import poke
from notifier.errors import REFUSALS, InvalidAudience, InvalidOption, InvalidPayload
from notifier.sql_function import SqlFunction, sync_part

__all__ = ["Event", "emit", "emit_async"]

_EMIT = SqlFunction(
    "notifier.emit",
    "event_id, is_new, matched, created, refused, correlation_id, "
    "error_code, error_field, error_expected",
    ("text", "text", "jsonb", "jsonb", "jsonb"),
)
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped NUL in JSON text, and not an escaped backslash before the letters."""


@dataclass(frozen=True, slots=True)
class Event:
    """What was emitted.

    is_new: False where the idempotency key had been used with the same body: this is the first
        event, and nothing is sent twice.
    matched, created, refused: pairs of recipient and channel so far; 0 until a large or
        scheduled audience is fanned out by a worker.
    """

    id: uuid.UUID
    is_new: bool
    matched: int
    created: int
    refused: int
    correlation_id: str


def emit(
    connection: Any,
    event_type: str,
    payload: Mapping[str, Any],
    *,
    tenant: uuid.UUID | str,
    to: Any = "subscribers",
    idempotency_key: str | None = None,
    scheduled_for: datetime | None = None,
    expires_at: datetime | None = None,
    lane: str | None = None,
    source: str | None = None,
    actor: str | None = None,
    correlation_id: str | None = None,
    escalation: Sequence[Mapping[str, Any]] | None = None,
    attachments: Sequence[uuid.UUID | str] | None = None,
) -> Event:
    """Emit in the transaction of `connection`, which this neither begins nor ends.

    connection: a SQLAlchemy `Session` or `Connection`, a psycopg connection, or Django's.
    payload: fits the event type's schema; at most 64 KiB of JSON, 100 nested levels, and numbers
        of 1000 digits.
    to: "subscribers", or a mapping of recipients, topics, tenant, addresses, channels, except.
    scheduled_for: fan out then; expires_at: send nothing after. Both aware datetimes.
    escalation: who is asked next while nobody acknowledges it, as in `register.event_type`; empty:
        nobody, also where the type says otherwise.
    attachments: ids that `attach` returned, for its e-mails: at most 10, of 7,000,000 bytes in all.
    source: database_trigger, worker_job, api_action (the default) or cron_scheduler.

    Raises a subclass of `notifier.errors.Refused` that names the field; then nothing was
    written, and the transaction is still usable.
    """
    arguments = _arguments(
        event_type,
        payload,
        tenant,
        to,
        {
            "idempotency_key": idempotency_key,
            "scheduled_for": scheduled_for,
            "expires_at": expires_at,
            "lane": lane,
            "source": source,
            "actor": actor,
            "correlation_id": correlation_id,
            "escalation": escalation,
            "attachments": attachments,
        },
    )
    event = _event(_EMIT.row(connection, arguments))
    poke.after_commit(connection)
    return event


async def emit_async(
    connection: Any,
    event_type: str,
    payload: Mapping[str, Any],
    *,
    tenant: uuid.UUID | str,
    to: Any = "subscribers",
    **options: Any,
) -> Event:
    """`emit` for an `AsyncSession`, an `AsyncConnection` or an async psycopg connection."""
    unknown = options.keys() - {
        "idempotency_key",
        "scheduled_for",
        "expires_at",
        "lane",
        "source",
        "actor",
        "correlation_id",
        "escalation",
        "attachments",
    }
    if unknown:
        raise TypeError(f"emit_async() got an unexpected keyword argument {sorted(unknown)[0]!r}")
    arguments = _arguments(event_type, payload, tenant, to, options)
    event = _event(await _EMIT.row_async(connection, arguments))
    if (inner := sync_part(connection)) is not None:
        poke.after_commit(inner)
    return event


def _event(row: Any) -> Event:
    event_id, is_new, matched, created, refused, correlation_id, code, field, expected = row
    if code is not None:
        raise REFUSALS[code](field, expected)
    return Event(
        event_id if isinstance(event_id, uuid.UUID) else uuid.UUID(event_id),
        is_new,
        matched,
        created,
        refused,
        correlation_id,
    )


def _arguments(
    event_type: str,
    payload: Mapping[str, Any],
    tenant: uuid.UUID | str,
    to: Any,
    options: Mapping[str, Any],
) -> tuple[str, ...]:
    given: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise InvalidOption(name, "a time with its offset (an aware datetime)")
            value = value.isoformat()
        given[name] = value
    return (
        str(tenant),
        event_type,
        _json(payload, InvalidPayload, "payload"),
        _json(to, InvalidAudience, "audience"),
        _json(given, InvalidOption, "options"),
    )


def _json(value: Any, refusal: type[Exception], field: str) -> str:
    """JSON that Postgres can hold: no NaN, no infinities, no NUL, no half of a surrogate pair."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, default=_plain)
        text.encode()
    except UnicodeEncodeError:
        raise refusal(field, "text that is valid Unicode") from None
    except RecursionError:
        raise refusal(field, "fewer nested levels") from None
    except (TypeError, ValueError) as error:
        raise refusal(field, f"values that JSON can hold ({error})") from None
    if _NUL.search(text):
        raise refusal(field, "text without NUL characters")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise TypeError("a datetime without its offset")
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
