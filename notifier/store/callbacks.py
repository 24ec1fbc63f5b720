"""What providers called back with, until a worker has found out whom it concerns."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from notifier.store.suppressions import OUTWEIGHS
from notifier.words import Channel


@dataclass(frozen=True, slots=True)
class Kept:
    """One fact. looks: how often it was looked at in vain."""

    id: uuid.UUID
    provider: str
    fact: Mapping[str, Any]
    looks: int


def keep(connection: Connection, provider: str, facts: Sequence[Mapping[str, Any]]) -> None:
    """Keep facts, with a dispatch that is due for them."""
    connection.exec_driver_sql(
        "SELECT notifier.keep_callbacks(%s, %s::jsonb)", (provider, json.dumps(list(facts)))
    )


def keep_for_later(
    connection: Connection, provider: str, facts: Sequence[Mapping[str, Any]], wait: timedelta
) -> None:
    """Keep facts that are to be looked at after `wait`, with a dispatch of their own."""
    connection.exec_driver_sql(
        "WITH due AS MATERIALIZED (SELECT clock_timestamp() + %(wait)s::interval AS at), kept AS ("
        "INSERT INTO notifier.callbacks (provider, fact, look_at) "
        "SELECT %(provider)s, f, due.at FROM jsonb_array_elements(%(facts)s::jsonb) AS f, due) "
        "INSERT INTO notifier.dispatches (kind, lane, due_at) SELECT 'receive', 'critical', at FROM due",
        {"provider": provider, "facts": json.dumps(list(facts)), "wait": wait},
    )


def take(connection: Connection, most: int) -> list[Kept]:
    """Facts to look at now, the oldest first, held for this transaction."""
    rows = connection.exec_driver_sql(
        "SELECT id, provider, fact, looks FROM notifier.callbacks "
        "WHERE look_at <= clock_timestamp() ORDER BY look_at, id LIMIT %s FOR UPDATE SKIP LOCKED",
        (most,),
    )
    return [Kept(*row) for row in rows]


def drop(connection: Connection, ids: Sequence[uuid.UUID]) -> None:
    """Forget facts that have been applied."""
    connection.exec_driver_sql(
        "DELETE FROM notifier.callbacks c USING unnest(%s::uuid[]) AS x(id) WHERE c.id = x.id",
        (list(ids),),
    )


def look_again(connection: Connection, waits: Sequence[tuple[uuid.UUID, timedelta | None]]) -> None:
    """Look at (fact) again after (wait); None: never, but it is kept."""
    connection.exec_driver_sql(
        "UPDATE notifier.callbacks c SET looks = c.looks + 1, look_at = clock_timestamp() + x.wait "
        "FROM unnest(%s::uuid[], %s::interval[]) AS x(id, wait) WHERE c.id = x.id",
        ([i for i, _ in waits], [wait for _, wait in waits]),
    )


def next_look(connection: Connection) -> datetime | None:
    """When the next fact is to be looked at; None where there is none."""
    moment: datetime | None = connection.exec_driver_sql(
        "SELECT min(look_at) FROM notifier.callbacks"
    ).scalar_one()
    return moment


def stop(connection: Connection, channel: Channel, address: str, reason: str) -> int:
    """Suppress an address for every tenant that has it, in its recipient's word; for how many."""
    return connection.exec_driver_sql(
        "INSERT INTO notifier.suppressions AS s (tenant_id, channel, address, reason) "
        "SELECT DISTINCT c.tenant_id, c.channel, c.address, %s FROM notifier.contact_points c "
        f"WHERE c.channel = %s AND c.address = %s {OUTWEIGHS}",
        (reason, channel, address),
    ).rowcount


def start(connection: Connection, channel: Channel, address: str, reason: str) -> int:
    """Take back what `stop` did for that reason, and nothing else; for how many tenants. Whoever wants
    messages again takes back what their STOP had taken the place of, too."""
    return connection.exec_driver_sql(
        "DELETE FROM notifier.suppressions WHERE channel = %s AND address = %s AND reason = %s",
        (channel, address, reason),
    ).rowcount
