"""Write a window's outcomes: all in one transaction or none, fenced by the claim's token."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import replace

from notifier import callbacks, failpoints, receipts
from notifier.log import logger
from notifier.receipts import Receipt
from notifier.settle import Results
from notifier.status import Actor, Status
from notifier.store import deliveries, dispatches, pauses, system
from notifier.store.captures import KEEPERS
from notifier.store.deliveries import Move
from notifier.store.engine import UNAVAILABLE, connect
from notifier.words import DispatchKind, Severity
from notifier.worker import Chunk, Worker

log = logger("record")

LATE_TRIES = 5
"""Tries to write what is known of a lost claim, before it is lost too."""


def record(chunk: Chunk, results: Results, worker: Worker) -> bool:
    """Write a window's outcomes in one transaction; False where the claim was lost meanwhile."""
    done = {m.id for m in results.moves} | set(results.ask) | set(results.settled)
    done |= {i for ids in (*results.parked.values(), *results.later.values()) for i in ids}
    rest = [i for i in chunk.rest if i not in done]
    renewed = time.monotonic()
    repeated = False
    while True:
        try:
            won = _write(chunk, results, rest, worker)
            break
        except UNAVAILABLE:
            # The commit may or may not have been lost with the connection; `shrink` expects the
            # dispatch as it was, so what was written is not written again.
            if time.monotonic() > chunk.until:
                raise
            repeated = True
            time.sleep(0.2)
    if repeated and not won:
        # While our lease stands nobody else changes the dispatch: it was our own write.
        won = time.monotonic() < chunk.until
    if not won:
        _tell_late(chunk, results)
        return False
    chunk.until = renewed + worker.settings.lease_seconds
    chunk.held.delivery_ids = rest
    if len(worker.providers[chunk.channel]) > 1 and chunk.provider.shares_fate:
        _tell_breaker(chunk, results, worker)
    for delivery_id in done:
        del chunk.rest[delivery_id]
    for m in results.unstarted:
        chunk.rest[m.id] = replace(chunk.rest[m.id], status=m.after)
    if results.moves:
        log.info(
            "recorded",
            dispatch=chunk.held.id,
            channel=chunk.held.channel,
            provider=chunk.provider.name,
            claim=chunk.held.attempts,
            outcomes=_counts(results.moves),
            correlation_ids=sorted({e.correlation_id for e in chunk.events.values()})[:10],
        )
    return True


def _write(chunk: Chunk, results: Results, rest: list[uuid.UUID], worker: Worker) -> bool:
    held, name = chunk.held, chunk.provider.name
    with connect() as connection, connection.begin():
        if not dispatches.shrink(connection, held, rest, worker.settings.lease):
            return False
        deliveries.move(connection, Actor.ENGINE, results.moves + results.unstarted, held.attempts)
        for wait, ids in results.retries.items():
            dispatches.add(connection, DispatchKind.DELIVER, held, ids, wait)
        for wait, ids in results.later.items():
            dispatches.add(connection, DispatchKind.DELIVER, held, ids, wait, held.stays_with)
        for pause, ids in results.parked.items():
            pauses.park(connection, held, ids, pause, held.stays_with)
        if results.ask:
            wait = chunk.provider.settles
            dispatches.add(connection, DispatchKind.RECONCILE, held, results.ask, wait)
        for (code, reason), ids in results.dead.items():
            deliveries.dead_letter(connection, ids, code, reason)
        for reason, ids in results.gone.items():
            deliveries.retire_addresses(connection, ids, reason)
        for reason, ids in results.in_doubt.items():
            deliveries.doubt(connection, ids, reason)
        if results.facts:
            deliveries.tell(connection, name, results.facts)
        if results.kept and chunk.provider.keeps:
            KEEPERS[chunk.provider.keeps](connection, results.kept)
        for wait, facts in results.reports.items():
            callbacks.keep_for_later(connection, name, facts, wait)
        failpoints.reach("record.before_commit")
    failpoints.reach("record.after_commit")
    return True


def _tell_breaker(chunk: Chunk, results: Results, worker: Worker) -> None:
    """Count the window's attempts for the provider's breaker, and say so where that changed it."""
    name = chunk.provider.name
    changed = worker.breakers.note(name, results.ok, results.failed)
    if changed:
        said = "takes no more for a while" if changed == "opened" else "works again"
        severity = Severity.HIGH if changed == "opened" else Severity.LOW
        with connect() as connection, connection.begin():
            system.raise_event(
                connection,
                severity,
                f"breaker_{changed}",
                f"{name} {said}",
                {"provider": name, "channel": chunk.channel},
            )


def _tell_late(chunk: Chunk, results: Results) -> None:
    """The lease ran out while we sent: only what the provider accepted is told, as a receipt.

    What it rejected is not: whoever took the dispatch over asks it anew.
    """
    log.warning("claim_lost", dispatch=chunk.held.id, deliveries=len(results.moves))
    if chunk.provider.keeps:
        # Its messages are kept with their outcome: without one, nothing was sent.
        return
    ids = {delivery_id: told for delivery_id, told, *_ in results.facts}
    accepted = [
        Receipt(
            m.id,
            m.after,
            chunk.provider.name,
            attempt=m.attempts,
            provider_message_id=ids.get(m.id, ""),
            detail=m.detail,
        )
        for m in results.moves
        if m.after in (Status.SENT, Status.DELIVERED)
    ]
    if not accepted:
        return
    for left in reversed(range(LATE_TRIES)):
        try:
            with connect() as connection, connection.begin():
                receipts.apply(connection, accepted, late=True)
            return
        except UNAVAILABLE:
            if not left:
                raise
            time.sleep(0.2)


def _counts(moves: Sequence[Move]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for move in moves:
        counts[move.after] = counts.get(move.after, 0) + 1
    return counts
