"""Cancellations: the row that stops what is under way, and what it found.

The statements are SQL functions, so that the API, which may not touch the queue, can call them.
"""

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Begun:
    """A cancellation that is written.

    dispatches: those that carry the event. is_first: whether none had been written before.
    fanned_out: whether the event has been fanned out to its end.
    """

    event: uuid.UUID
    dispatches: list[uuid.UUID]
    is_first: bool
    fanned_out: bool


def begin(
    connection: Connection,
    tenant: uuid.UUID | None,
    event: uuid.UUID | None,
    delivery: uuid.UUID | None,
    actor: str | None,
) -> Begun | None:
    """Write the cancellation; None where there is no such event or delivery (of `tenant`, where
    given).
    """
    row = connection.exec_driver_sql(
        "SELECT event_id, dispatch_ids FROM notifier.cancel_begin(%s, %s, %s, %s)",
        (tenant, event, delivery, actor),
    ).one_or_none()
    if row is None:
        return None
    # What this transaction has written is of its own time.
    is_first, fanned_out = connection.exec_driver_sql(
        "SELECT c.created_at = now(), e.fanned_out_at IS NOT NULL "
        "FROM notifier.event_cancellations c JOIN notifier.notification_events e ON e.id = c.event_id "
        "WHERE c.event_id = %s AND c.delivery_id IS NOT DISTINCT FROM %s",
        (row.event_id, delivery),
    ).one()
    return Begun(row.event_id, row.dispatch_ids, is_first, fanned_out)


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
