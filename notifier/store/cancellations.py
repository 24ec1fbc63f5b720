"""Cancellations: the row that stops what is under way, and what it found.

The statements are SQL functions, so that the API, which may not touch the queue, can call them.
"""

import uuid

from sqlalchemy import Connection


def begin(
    connection: Connection,
    tenant: uuid.UUID | None,
    event: uuid.UUID | None,
    delivery: uuid.UUID | None,
    actor: str | None,
) -> tuple[uuid.UUID, list[uuid.UUID]] | None:
    """Write the cancellation; the event's id and the dispatches that carry it.

    None where there is no such event or delivery (of `tenant`, where given).
    """
    row = connection.exec_driver_sql(
        "SELECT event_id, dispatch_ids FROM notifier.cancel_begin(%s, %s, %s, %s)",
        (tenant, event, delivery, actor),
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def empty(
    connection: Connection, dispatch: uuid.UUID, event: uuid.UUID, delivery: uuid.UUID | None
) -> int:
    """Take what is cancelled from a dispatch that no worker holds; how many that stopped."""
    return int(
        connection.exec_driver_sql(
            "SELECT notifier.cancel_dispatch(%s, %s, %s)", (dispatch, event, delivery)
        ).scalar_one()
    )


def counts(connection: Connection, event: uuid.UUID, delivery: uuid.UUID | None) -> tuple[int, int]:
    """Of the event, or of one delivery: how many are in flight, and how many were sent."""
    row = connection.exec_driver_sql(
        "SELECT in_flight, sent FROM notifier.cancel_counts(%s, %s)", (event, delivery)
    ).one()
    return row[0], row[1]
