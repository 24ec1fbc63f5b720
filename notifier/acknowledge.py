"""Acknowledge an event: somebody takes care of it, so nobody else is asked.

Only an event with an escalation asks for it. The acknowledgement and the cancellation that keeps
the rest from being sent are one transaction; then the dispatches that nobody holds are emptied, as
a cancel does it.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from notifier.cancel import empty
from notifier.errors import NotFoundError

__all__ = ["Acknowledgement", "acknowledge"]


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What an acknowledgement did.

    is_first: whether it is the one that counts. stopped: deliveries that will never be sent.
    """

    event_id: uuid.UUID
    is_first: bool
    stopped: int


@dataclass(frozen=True, slots=True)
class Begun:
    """An acknowledgement in a transaction that is still open.

    asked: whether the event asks for one; nothing is written where it does not.
    """

    event_id: uuid.UUID
    asked: bool
    is_first: bool
    dispatches: Sequence[uuid.UUID]


def acknowledge(
    *,
    event: uuid.UUID | None = None,
    delivery: uuid.UUID | None = None,
    tenant: uuid.UUID | None = None,
    how: str,
) -> Acknowledgement:
    """Acknowledge an event, or the event of a delivery.

    tenant: where given, only what belongs to it. how: who or what says so, such as `cli`.
    Raises `NotFoundError` where there is no such event or delivery, or it asks for no
    acknowledgement.
    """
    if (event is None) == (delivery is None):
        raise TypeError("acknowledge() takes either an event or a delivery")
    from notifier.store.engine import connect

    with connect() as connection, connection.begin():
        begun = begin(connection, event=event, delivery=delivery, tenant=tenant, how=how)
    if begun is None or not begun.asked:
        expected = "the id of one that exists in this tenant and has an escalation"
        raise NotFoundError("event" if event else "delivery", expected)
    return finish(begun)


def begin(
    connection: Any,
    *,
    event: uuid.UUID | None = None,
    delivery: uuid.UUID | None = None,
    tenant: uuid.UUID | None = None,
    how: str,
) -> Begun | None:
    """Write it in the caller's transaction; None where there is no such event or delivery.

    From its commit on nothing of the event is begun any more. `finish` may follow, and need not.
    """
    from notifier.store import acknowledgements

    row = acknowledgements.write(connection, tenant, event, delivery, how)
    return None if row is None else Begun(*row)


def finish(begun: Begun) -> Acknowledgement:
    """Take what will not be sent off the dispatches that nobody holds."""
    stopped = empty(begun.event_id, begun.dispatches)
    return Acknowledgement(begun.event_id, begun.is_first, stopped)
