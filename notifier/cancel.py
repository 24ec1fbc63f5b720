"""Cancel an event or a delivery: what has not been sent never is.

The cancellation is committed first, so a worker that holds a dispatch reads it before its next
window; then every dispatch that nobody holds is emptied, each in a transaction of its own.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from notifier.errors import NotFoundError

__all__ = ["Cancelled", "cancel"]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel could do.

    stopped: deliveries that will never be sent.
    in_flight: deliveries a worker holds; they stop at its next window unless already sent.
    sent: deliveries that had been sent before.
    is_first: False where a cancel, or an acknowledgement, had stopped it before.
    fanned_out: False where its event had not been fanned out: the rest never is.
    """

    stopped: int
    in_flight: int
    sent: int
    is_first: bool
    fanned_out: bool


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
    from notifier.store import cancellations
    from notifier.store.engine import connect
    from notifier.store.tenancy import pin

    with connect() as connection, connection.begin():
        if tenant is not None:
            pin(connection, tenant)
        begun = cancellations.begin(connection, tenant, event, delivery, actor)
    if begun is None:
        raise NotFoundError(
            "event" if event else "delivery", "the id of one that exists in this tenant"
        )
    stopped = empty(begun.event, begun.dispatches, delivery)
    with connect() as connection:
        in_flight, sent = cancellations.counts(connection, begun.event, delivery)
    return Cancelled(stopped, in_flight, sent, begun.is_first, begun.fanned_out)


def empty(
    event: uuid.UUID, dispatches: Sequence[uuid.UUID], delivery: uuid.UUID | None = None
) -> int:
    """Take what is cancelled off the dispatches that no worker holds; how many that stopped."""
    from notifier.store import cancellations
    from notifier.store.engine import connect

    stopped = 0
    for dispatch in dispatches:
        with connect() as connection, connection.begin():
            stopped += cancellations.empty(connection, dispatch, event, delivery)
    return stopped
