"""What providers told about deliveries, written whatever our own outcome was or will be."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import Connection

from notifier.status import MOVES, Actor, Status, needs_unsent

Told = tuple[uuid.UUID, datetime | None, int, str, str | None, str | None]
"""(delivery, when, attempt, provider, code, the provider's words)"""


def lock(connection: Connection, ids: Sequence[uuid.UUID]) -> None:
    """Hold the deliveries for this transaction, in one order for all who do."""
    connection.exec_driver_sql(
        "SELECT FROM unnest(%s::uuid[]) AS x(id) JOIN notifier.notification_deliveries d "
        "ON d.id = x.id ORDER BY d.id FOR UPDATE OF d",
        (list(ids),),
    )


# The earliest time told wins and a stronger fact implies the weaker ones, so that the order in
# which they come changes nothing. The journal has the clock's time, not the transaction's start:
# it may have waited for the outcome that it follows.
_MOVE = """
WITH told AS (
    SELECT x.id, coalesce(x.at, clock_timestamp()) AS at, x.attempt, x.provider, x.code, x.detail,
           d.status AS before,
           d.status = ANY(%(may)s::text[])
           AND (d.sent_at IS NULL OR d.status <> ALL(%(unsent)s::text[])) AS wins
    FROM unnest(%(ids)s::uuid[], %(ats)s::timestamptz[], %(attempts)s::int[], %(providers)s::text[],
                %(codes)s::text[], %(details)s::text[]) AS x(id, at, attempt, provider, code, detail)
    JOIN notifier.notification_deliveries d ON d.id = x.id
    WHERE d.status <> 'refused'
), moved AS (
    UPDATE notifier.notification_deliveries d
    SET status = CASE WHEN told.wins THEN %(after)s ELSE d.status END,
        updated_at = CASE WHEN told.wins THEN clock_timestamp() ELSE d.updated_at END,
        code = CASE WHEN told.wins THEN told.code ELSE d.code END,
        attempts = greatest(d.attempts, told.attempt),
        provider = coalesce(d.provider, told.provider),
        sent_at = least(d.sent_at, told.at),
        delivered_at = CASE WHEN %(arrived)s THEN least(d.delivered_at, told.at) ELSE d.delivered_at END,
        opened_at = CASE WHEN %(opened)s THEN least(d.opened_at, told.at) ELSE d.opened_at END,
        clicked_at = CASE WHEN %(clicked)s THEN least(d.clicked_at, told.at) ELSE d.clicked_at END
    FROM told WHERE d.id = told.id
    RETURNING d.id, told.before, told.wins, told.provider, told.code, told.detail, d.attempts
)
INSERT INTO notifier.delivery_journal
    (delivery_id, at, actor, from_status, to_status, attempt, provider, code, detail)
SELECT m.id, clock_timestamp(), 'receipts', m.before, %(after)s, m.attempts, m.provider, m.code, m.detail
FROM moved m WHERE m.wins
RETURNING delivery_id, from_status
"""


def move(
    connection: Connection, after: Status, told: Sequence[Told]
) -> list[tuple[uuid.UUID, Status]]:
    """Write what was told, one row a delivery; those whose status moved, and from where.

    The caller holds the deliveries (`lock`).
    """
    arrived = (Status.DELIVERED, Status.OPENED, Status.CLICKED, Status.COMPLAINED)
    ids, ats, attempts, providers, codes, details = (list(c) for c in zip(*told, strict=True))
    rows = connection.exec_driver_sql(
        _MOVE,
        {
            "ids": ids,
            "ats": ats,
            "attempts": attempts,
            "providers": providers,
            "codes": codes,
            "details": details,
            "after": after,
            "may": [before for before, to in MOVES[Actor.RECEIPTS].items() if after in to],
            "unsent": list(needs_unsent(after)),
            "arrived": after in arrived,
            "opened": after in (Status.OPENED, Status.CLICKED),
            "clicked": after is Status.CLICKED,
        },
    )
    return [(row[0], Status(row[1])) for row in rows]


class Kept(NamedTuple):
    """A row of `provider_messages`."""

    provider: str
    delivery_id: uuid.UUID
    provider_message_id: str
    attempt: int
    raw_status: str | None
    error_code: str | None
    segments: int | None
    price: Decimal | None
    currency: str | None


def keep(connection: Connection, facts: Sequence[Kept], *, late: bool) -> None:
    """Keep what providers told, each once."""
    if not facts:
        return
    connection.exec_driver_sql(
        "INSERT INTO notifier.provider_messages (delivery_id, provider, provider_message_id, "
        "attempt, raw_status, error_code, segments, price, currency, late) "
        "SELECT DISTINCT x.id, x.provider, x.told, x.attempt, x.raw, x.code, x.segments, x.price, "
        "x.currency, %s::boolean "
        "FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::int[], %s::text[], %s::text[], "
        "%s::smallint[], %s::numeric[], %s::text[]) "
        "AS x(provider, id, told, attempt, raw, code, segments, price, currency) WHERE NOT EXISTS ("
        "SELECT FROM notifier.provider_messages m WHERE m.delivery_id = x.id "
        "AND m.provider = x.provider AND m.provider_message_id = x.told "
        "AND m.attempt = x.attempt AND m.raw_status IS NOT DISTINCT FROM x.raw)",
        (late, *(list(column) for column in zip(*facts, strict=True))),
    )


def owners(connection: Connection, provider: str, told: Sequence[str]) -> dict[str, uuid.UUID]:
    """Whose each of the provider's ids is, as far as that is known."""
    rows = connection.exec_driver_sql(
        "SELECT m.provider_message_id, m.delivery_id FROM unnest(%s::text[]) AS x(told) "
        "JOIN notifier.provider_messages m ON m.provider_message_id = x.told "
        "WHERE m.provider = %s",
        (list(told), provider),
    )
    return {row[0]: row[1] for row in rows}


def unlist(connection: Connection, ids: Sequence[uuid.UUID]) -> None:
    """Take those of `ids` off the dead letters and the doubts which are neither any more."""
    for table, status in (("dead_letters", Status.FAILED), ("in_doubt", Status.UNKNOWN)):
        connection.exec_driver_sql(
            f"DELETE FROM notifier.{table} l USING unnest(%s::uuid[]) AS x(id) "
            "JOIN notifier.notification_deliveries d ON d.id = x.id "
            "WHERE l.delivery_id = x.id AND d.status <> %s",
            (list(ids), status),
        )
