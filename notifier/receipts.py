"""Receipts: what a provider tells after, or beside, its answer to the send itself.

Callbacks, tracked opens, and the late word of a worker that had lost its claim meanwhile: they
come in any order, any number of times, also before our own outcome is written.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from notifier.log import logger
from notifier.status import RECEIVED, UNFINISHED, Status
from notifier.store import deliveries, dispatches, received
from notifier.store.suppressions import COMPLAINED

log = logger("receipts")

TRIES = 5
"""Looks at which dispatches carry a delivery, where the relay repacks them at the same moment."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One fact from a provider about one delivery.

    status: what it says happened, one of `status.RECEIVED`; None: nothing that moves a delivery.
    at: when that was, by the provider's clock; None: now.
    attempt: which send it speaks of; 0 where that is not known.
    provider_message_id: the provider's id, kept in `provider_messages`; None: nothing is kept.
    code, detail: why it failed, and the provider's own words. raw: its word for the status.
    segments, price, currency: what it cost, where it says so.
    """

    delivery_id: uuid.UUID
    status: Status | None
    provider: str
    at: datetime | None = None
    attempt: int = 0
    provider_message_id: str | None = None
    code: str | None = None
    detail: str | None = None
    raw: str | None = None
    segments: int | None = None
    price: Decimal | None = None
    currency: str | None = None


def apply(connection: Connection, told: Sequence[Receipt], *, late: bool = False) -> int:
    """Write what was told, in the caller's transaction; how many statuses it moved.

    Facts (times, the provider's id) are written whatever the status is by now. The status moves
    only as `status.MOVES` lets receipts move it, each move with its journal row. Whatever order
    the same receipts come in and however often, they leave the same status and times. A delivery
    that is finished by its receipt leaves the dispatch that carries it; one that a worker has in
    hand leaves with that worker's next write. What is not a delivery of ours is left out.

    late: the word of a worker whose lease had run out.
    Raises `ValueError` for a status that no receipt can tell. After an `OperationalError`
    (deadlock, connection) nothing is written, and repeating the call is safe.
    """
    for receipt in told:
        if receipt.status is not None and receipt.status not in RECEIVED:
            raise ValueError(f"no receipt tells {receipt.status}")
    ids = sorted({receipt.delivery_id for receipt in told})
    for left in reversed(range(TRIES)):
        with connection.begin_nested() as attempt:
            # Dispatches before deliveries, as workers lock them.
            standing = deliveries.standing(connection, ids)
            open_now = [i for i, (status, _) in standing.items() if status in UNFINISHED]
            carriers = dispatches.lock_carriers(connection, open_now)
            moved = _move(connection, ids, told)
            finished = {i for i, before, _ in moved if before in UNFINISHED}
            missed = finished - {i for carrier in carriers for i in carrier.delivery_ids}
            if missed and left:
                # Another transaction had just put it on a dispatch that we do not hold.
                attempt.rollback()
                continue
            dispatches.take_off(connection, [c.id for c in carriers if not c.held], finished)
            _list(connection, moved, told)
            facts = [
                received.Kept(
                    r.provider,
                    r.delivery_id,
                    r.provider_message_id,
                    r.attempt,
                    r.raw or r.detail,
                    r.code,
                    r.segments,
                    r.price,
                    r.currency,
                )
                for r in told
                if r.provider_message_id is not None and r.delivery_id in standing
            ]
            received.keep(connection, facts, late=late)
            break
    if moved:
        log.info("received", moved=len(moved), told=len(told), late=late)
    return len(moved)


def _move(
    connection: Connection, ids: Sequence[uuid.UUID], told: Sequence[Receipt]
) -> list[tuple[uuid.UUID, Status, Status]]:
    """Write facts and statuses, the weakest word first: (delivery, before, after) of each move."""
    received.lock(connection, ids)
    moved = []
    for status in RECEIVED:
        # The same word twice in one call is one word; the earliest time counts.
        words: dict[uuid.UUID, Receipt] = {}
        for receipt in told:
            if receipt.status is status:
                known = words.get(receipt.delivery_id)
                if known is None or (receipt.at and (not known.at or receipt.at < known.at)):
                    words[receipt.delivery_id] = receipt
        if words:
            rows = [
                (w.delivery_id, w.at, w.attempt, w.provider, w.code, w.detail)
                for w in words.values()
            ]
            moved += [
                (delivery, before, status)
                for delivery, before in received.move(connection, status, rows)
            ]
    return moved


def _list(
    connection: Connection,
    moved: Sequence[tuple[uuid.UUID, Status, Status]],
    told: Sequence[Receipt],
) -> None:
    """Bring what operators look at, and the address, in line with where the deliveries stand."""
    ends = {delivery: after for delivery, _, after in moved}
    received.unlist(connection, list(ends))
    for receipt in told:
        if ends.get(receipt.delivery_id) is not receipt.status:
            continue
        reason = receipt.detail or "the provider says so"
        if receipt.status is Status.FAILED:
            code = receipt.code or "failed"
            deliveries.dead_letter(connection, [receipt.delivery_id], code, reason)
        elif receipt.status is Status.BOUNCED:
            deliveries.retire_addresses(connection, [receipt.delivery_id], reason)
        elif receipt.status is Status.COMPLAINED:
            deliveries.suppress_addresses(connection, [receipt.delivery_id], COMPLAINED)
