"""Send one dispatch: claim → load → render → send → record, window by window.

Each window's outcomes are one transaction, fenced by the claim's token, in which the dispatch
shrinks to what remains. No transaction is open while a provider is spoken to.
"""

import math
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from typing import TypeGuard

from sqlalchemy import Connection

from notifier import assign, connections, failpoints, messages, window
from notifier.channels.contract import Message
from notifier.log import logger
from notifier.outcome import Outcome, Rejected, RetryLater
from notifier.record import record
from notifier.settle import Results, settle, unstarted
from notifier.status import UNFINISHED, Actor, Status
from notifier.store import deliveries, dispatches
from notifier.store.deliveries import Move
from notifier.store.dispatches import Claim
from notifier.store.engine import connect, statement
from notifier.words import TRAITS, Channel, DispatchKind, InDoubt
from notifier.worker import Chunk, Worker, claiming

log = logger("deliver")

ALONE = 3
"""Claims of its own at most for a delivery that kills its workers, once it stands alone."""


def deliver(dispatch_id: uuid.UUID, worker: Worker) -> None:
    """Send what the dispatch carries, or as much as the time budget and a stop allow.

    Raises what the database raised where it can not go on, with the claim let go.
    """
    with claiming(dispatch_id, worker) as token:
        try:
            chunk = _claim(dispatch_id, token, worker)
            if chunk is not None:
                _send(chunk, worker)
        finally:
            worker.slowness.leave()


def _send(chunk: Chunk, worker: Worker) -> None:
    """Window by window."""
    while chunk.rest:
        if worker.stopping() or _turn_is_over(chunk, worker):
            _hand_back(chunk, worker)
            return
        if not _send_window(chunk, worker):
            return
        if chunk.rest and worker.slowness.is_slow(chunk.channel):
            # Its turn is one window: others wait behind it.
            _hand_back(chunk, worker)
            return


def _claim(dispatch_id: uuid.UUID, token: uuid.UUID, worker: Worker) -> Chunk | None:
    """Claim, load and take over; None where there is nothing (more) for this worker to do."""
    started = time.monotonic()
    with statement() as connection:
        held = dispatches.claim(connection, dispatch_id, worker.settings.lease, token)
    if held is None:
        return None
    assert held.channel is not None
    failpoints.reach("deliver.claimed")
    chain = worker.providers[held.channel]
    worker.slowness.enter(held.channel)
    if worker.slowness.has_all_others(held.channel) and not held.taken_over:
        log.info("put_off", dispatch=held.id, channel=held.channel)
        # What was taken over stays so: put off, it would look as if nothing were in doubt.
        with statement() as connection:
            wait = max((each.deadline for each in chain), default=timedelta())
            dispatches.postpone(connection, held, wait)
        return None
    # The claim is committed and counts, so what can not be read is halved until it stands alone.
    if held.taken_over:
        with connect() as connection, connection.begin():
            if not _take_over(connection, held, worker):
                return None
    with statement() as connection:
        loaded = deliveries.load(
            connection, held.delivery_ids, secrets_too=held.channel is Channel.WEBHOOK
        )
        rest = {d.id: d for d in loaded if d.status in UNFINISHED}
        if len(rest) < len(held.delivery_ids):
            # Settled meanwhile, by a receipt: there is nothing more to send.
            if not dispatches.shrink(connection, held, list(rest), worker.settings.lease):
                return None
            held.delivery_ids = list(rest)
    working: dict[uuid.UUID, int] = {}
    if len(chain) == 1 and not worker.routes():
        provider = chain[0]
    else:
        way = assign.assign(held, rest, worker)
        if way is None:
            return None
        provider, working = way
    with statement() as connection:
        events = deliveries.load_events(connection, list({d.event_id for d in rest.values()}))
        messages.learn_templates(connection, rest.values())
    return Chunk(
        held,
        provider,
        rest,
        events,
        {i: messages.shared_context(event) for i, event in events.items()},
        started,
        started + worker.settings.lease_seconds,
        working,
    )


def _take_over(
    connection: Connection,
    held: Claim,
    worker: Worker,
) -> bool:
    """Deal with a dispatch whose last worker died in it; whether anything is left to send."""
    log.warning(
        "taken_over",
        dispatch=held.id,
        channel=held.channel,
        claim=held.attempts,
        deliveries=len(held.delivery_ids),
    )
    assert held.channel is not None
    if not dispatches.drop_finished(connection, held, worker.settings.lease):
        return False
    standing = deliveries.standing(connection, held.delivery_ids)
    if TRAITS[held.channel].in_doubt is InDoubt.RECONCILE:
        # `sending` was committed before the call: the provider may have it. Ask before anything.
        asked = [i for i, (status, _) in standing.items() if status is Status.SENDING]
        if asked:
            chain = worker.providers[held.channel]
            wait = max((each.settles for each in chain), default=timedelta())
            dispatches.add(connection, DispatchKind.RECONCILE, held, asked, wait)
            safe = [i for i in held.delivery_ids if i not in asked]
            dispatches.shrink(connection, held, safe, worker.settings.lease)
            held.delivery_ids = safe
            if not safe:
                return False
    if len(held.delivery_ids) > 1:
        dispatches.halve(connection, held, ALONE)
    elif held.attempts > ALONE:
        poison = held.delivery_ids[0]
        status, attempts = standing[poison]
        dispatches.shrink(connection, held, [], worker.settings.lease)
        deliveries.move(
            connection,
            Actor.ENGINE,
            [Move(poison, status, Status.FAILED, attempts, code="poison")],
            held.attempts,
        )
        deliveries.dead_letter(
            connection, [poison], "poison", "workers died while they had it in hand"
        )
        return False
    return True


def _send_window(chunk: Chunk, worker: Worker) -> bool:
    """Send the next window and record it; whether the claim is still ours."""
    results = Results()
    ready = window.next_messages(chunk, worker, results)
    if chunk.announces:
        announced = _announce(chunk, ready, results, worker)
        if announced is None:
            return False
        ready = announced

    deadline = chunk.provider.deadline.total_seconds()

    def lease_lasts() -> bool:
        return time.monotonic() + deadline < chunk.until

    began = flushed = heard = time.monotonic()
    silent = lost = False

    def may_start() -> bool:
        if time.monotonic() - heard > deadline / 2:
            worker.slowness.tell(chunk.channel, True)
        if lost or worker.stopping():
            return False
        return lease_lasts() and not _turn_is_over(chunk, worker)

    sent = 0
    refused: dict[uuid.UUID, tuple[str, str]] = {}
    failpoints.reach("deliver.before_calls")
    waiting = {message.delivery_id: message for message in ready}
    # Closed whatever goes wrong here, so that nothing further is begun.
    with closing(chunk.provider.send(ready, may_start)) as outcomes:
        while True:
            try:
                message, outcome = next(outcomes)
            except StopIteration:
                break
            except Exception:
                # A fault of ours: what it had in hand is in doubt, what it told before is not.
                record(chunk, results, worker)
                raise
            failpoints.reach("deliver.after_call")
            sent += 1
            del waiting[message.delivery_id]
            settle(chunk, message, outcome, results, worker)
            if message.token is not None and _ends_token(outcome, chunk):
                refused[message.tenant_id] = message.token, outcome.code
            now = time.monotonic()
            silent = silent or now - heard > deadline / 2
            heard = now
            if now - flushed > worker.settings.flush_seconds:
                heard = math.inf  # the time that recording takes is not the provider's
                # Read on though the claim is lost: what was accepted is told late, all of it.
                lost = not record(chunk, results, worker) or lost
                results = Results()
                flushed = heard = time.monotonic()
    if sent:
        elapsed = max(time.monotonic() - began, 1e-4)
        worker.pace[chunk.provider.name] = sent / elapsed
        worker.slowness.tell(chunk.channel, silent)
    if not lost:
        for left in waiting:
            unstarted(chunk, left, results)
    lost = not record(chunk, results, worker) or lost
    for tenant, (token, code) in refused.items():
        connections.refused(tenant, chunk.provider, token, code)
    if lost:
        return False
    if waiting and not worker.stopping() and not lease_lasts():
        # Recording took so long that the lease it renewed is too short for a send.
        _hand_back(chunk, worker)
        return False
    return True


def _ends_token(outcome: Outcome, chunk: Chunk) -> TypeGuard[RetryLater | Rejected]:
    """Whether the vendor says with it that the token is good no more."""
    oauth = chunk.provider.oauth
    return (
        oauth is not None
        and isinstance(outcome, RetryLater | Rejected)
        and outcome.code in oauth.over
    )


def _announce(
    chunk: Chunk, ready: Sequence[Message], results: Results, worker: Worker
) -> list[Message] | None:
    """Commit `sending` before the calls of a channel that must not repeat them.

    Those of `ready` to send now: a receipt may have been faster. None where the claim is lost.
    """
    with connect() as connection, connection.begin():
        if not dispatches.shrink(connection, chunk.held, list(chunk.rest), worker.settings.lease):
            return None
        moves = []
        for message in ready:
            delivery = chunk.rest[message.delivery_id]
            moves.append(
                Move(
                    delivery.id,
                    delivery.status,
                    Status.SENDING,
                    message.attempt,
                    chunk.provider.name,
                )
            )
        if deliveries.move(connection, Actor.ENGINE, moves, chunk.held.attempts) == len(moves):
            return list(ready)
        standing = deliveries.standing(connection, [m.id for m in moves])
    results.settled += [i for i, (status, _) in standing.items() if status is not Status.SENDING]
    return [message for message in ready if message.delivery_id not in results.settled]


def _hand_back(chunk: Chunk, worker: Worker) -> None:
    with connect() as connection, connection.begin():
        if dispatches.drop_finished(connection, chunk.held, worker.settings.lease):
            dispatches.hand_back(connection, chunk.held)


def _turn_is_over(chunk: Chunk, worker: Worker) -> bool:
    """Whether the dispatch's rest goes to the back of its queue: it had its time, or its provider
    hangs and every other process of this worker is held by such a one.
    """
    spent = time.monotonic() - chunk.started
    return spent > worker.settings.chunk_seconds or worker.slowness.has_all_others(chunk.channel)
