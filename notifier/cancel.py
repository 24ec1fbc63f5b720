"""Cancel an event or a delivery: what has not been sent never is.

The cancellation is committed first, so a worker that holds a dispatch reads it before its next
window; then every dispatch that nobody holds is emptied, each in a transaction of its own.
"""

import uuid
from dataclasses import dataclass

from notifier.errors import NotFoundError

__all__ = ["Cancelled", "cancel"]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel could do.

    stopped: deliveries that will never be sent.
    in_flight: deliveries a worker holds; they stop at its next window unless already sent.
    sent: deliveries that had been sent before.
    """

    stopped: int
    in_flight: int
    sent: int


def cancel(
    *,
    event: uuid.UUID | None = None,
    delivery: uuid.UUID | None = None,
    tenant: uuid.UUID | None = None,
    actor: str | None = None,
) -> Cancelled:
    """Cancel one event, also while it fans out, or one delivery.

    tenant: where given, only what belongs to it can be cancelled.
    Raises `NotFoundError` where there is no such event or delivery.
    """
    if (event is None) == (delivery is None):
        raise TypeError("cancel() takes either an event or a delivery")
    from notifier.status import Actor, Status
    from notifier.store import cancellations, deliveries, dispatches
    from notifier.store.deliveries import Move
    from notifier.store.engine import connect

    with connect() as connection, connection.begin():
        event_id = cancellations.record(connection, event, delivery, tenant, actor)
    if event_id is None:
        raise NotFoundError(
            "event" if event else "delivery", "the id of one that exists in this tenant"
        )
    with connect() as connection:
        holders = dispatches.holding(connection, event_id)
    stopped = 0
    for dispatch_id in holders:
        with connect() as connection, connection.begin():
            locked = dispatches.lock_free(connection, dispatch_id)
            if locked is None:
                continue
            chosen = cancellations.chosen(connection, locked.delivery_ids, event_id, delivery)
            # `sending` is not a status that a cancel may leave: the provider may have it.
            moves = [
                Move(i, before, Status.CANCELLED, attempts)
                for i, before, attempts in chosen
                if before is not Status.SENDING
            ]
            stopped += deliveries.move(connection, Actor.OPERATOR, moves)
            gone = {m.id for m in moves}
            rest = [i for i in locked.delivery_ids if i not in gone]
            if rest or locked.delivery_ids:
                dispatches.keep_only(connection, locked, rest)
            elif delivery is None:
                dispatches.keep_only(connection, locked, [])
    with connect() as connection:
        in_flight, sent = cancellations.counts(connection, event_id, delivery)
    return Cancelled(stopped, in_flight, sent)
