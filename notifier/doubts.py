"""What an operator decides of deliveries in doubt, which neither provider nor call back settled."""

from collections.abc import Sequence

from sqlalchemy import Connection

from notifier.log import logger
from notifier.status import Actor, Status
from notifier.store import deliveries, dispatches, doubts, received
from notifier.store.deliveries import Move
from notifier.store.doubts import Doubt, Which
from notifier.store.engine import connect
from notifier.words import Decision

log = logger("doubts")

BATCH = 2000
"""Deliveries settled in one transaction."""


_AFTER = {
    Decision.SENT: Status.SENT,
    Decision.FAILED: Status.FAILED,
    Decision.RESEND: Status.QUEUED,
}


def settle(decision: Decision, which: Which, *, actor: str) -> int:
    """Settle every delivery in doubt that fits; how many.

    A provider's word that comes after all overrules it. One that is settled is in doubt no more, so
    that repeating this repeats nothing.
    """
    settled = 0
    while True:
        with connect() as connection, connection.begin():
            found = doubts.listed(connection, which, BATCH)
            if found:
                settled += _settle(connection, decision, found, actor)
        if len(found) < BATCH:
            log.info("doubts_settled", decision=decision, deliveries=settled, actor=actor)
            return settled


def _settle(connection: Connection, decision: Decision, found: Sequence[Doubt], actor: str) -> int:
    ids = sorted(doubt.delivery_id for doubt in found)
    # From here on no receipt and no other operator moves them.
    received.lock(connection, ids)
    standing = deliveries.standing(connection, ids)
    unknown = [i for i, (status, _) in standing.items() if status is Status.UNKNOWN]
    said = f"{actor} says {decision}"
    moves = [
        Move(
            i,
            Status.UNKNOWN,
            _AFTER[decision],
            0 if decision is Decision.RESEND else standing[i][1],
            code="in_doubt",
            detail=said,
        )
        for i in unknown
    ]
    deliveries.move(connection, Actor.OPERATOR, moves)
    received.unlist(connection, ids)
    if decision is Decision.FAILED:
        deliveries.dead_letter(connection, unknown, "in_doubt", said)
    elif decision is Decision.RESEND:
        dispatches.carry(connection, unknown)
    return len(unknown)
