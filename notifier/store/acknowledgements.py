"""Acknowledgements, and the magic links that make them.

The statements are SQL functions, so that the API, which may not touch the queue, can call them.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection


def write(
    connection: Connection,
    tenant: uuid.UUID | None,
    event: uuid.UUID | None,
    delivery: uuid.UUID | None,
    how: str,
) -> tuple[uuid.UUID, bool, bool, list[uuid.UUID]] | None:
    """Acknowledge: the event's id, whether it asks for that, whether this is the first, and the
    dispatches that carry the event. None where there is no such event or delivery."""
    row = connection.exec_driver_sql(
        "SELECT event_id, asked, is_first, dispatch_ids FROM notifier.acknowledge(%s, %s, %s, %s)",
        (tenant, event, delivery, how),
    ).one()
    return None if row[0] is None else (row[0], row[1], row[2], row[3])


def keep_links(connection: Connection, links: Mapping[bytes, tuple[uuid.UUID, datetime]]) -> None:
    """Keep links by the hash of their token: for which delivery, and until when they are good.

    One that is kept already stays as it is.
    """
    connection.exec_driver_sql(
        "INSERT INTO notifier.magic_links (hash, delivery_id, expires_at) "
        "SELECT * FROM unnest(%s::bytea[], %s::uuid[], %s::timestamptz[]) ON CONFLICT DO NOTHING",
        (
            list(links),
            [delivery for delivery, _ in links.values()],
            [until for _, until in links.values()],
        ),
    )


def use_link(connection: Connection, hash: bytes) -> uuid.UUID | None:
    """Use a link up: its delivery; None where it is not good any more. One caller only wins."""
    delivery: uuid.UUID | None = connection.exec_driver_sql(
        "SELECT notifier.use_magic_link(%s)", (hash,)
    ).scalar_one()
    return delivery


def link_state(connection: Connection, hash: bytes) -> Literal["good", "used", "expired"] | None:
    """Whether a link is good; None where there is no such link."""
    state: Literal["good", "used", "expired"] | None = connection.exec_driver_sql(
        "SELECT notifier.magic_link_state(%s)", (hash,)
    ).scalar_one()
    return state


def drop_links(connection: Connection, after: timedelta) -> int:
    """Forget links that have expired so long ago; how many."""
    return connection.exec_driver_sql(
        "DELETE FROM notifier.magic_links WHERE expires_at < now() - %s", (after,)
    ).rowcount
