"""Send one dispatch: claim → load → render → send → record, window by window.

Each window's outcomes are one transaction, fenced by the claim's token, in which the dispatch
shrinks to what remains. No transaction is open while a provider is spoken to.
"""

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from typing import TypeGuard

from sqlalchemy import Connection

from notifier import assign, connections, failpoints, limits, magic_links, messages
from notifier.channels.contract import Message
from notifier.errors import NotifierError
from notifier.log import logger
from notifier.outcome import Outcome, Rejected, RetryLater
from notifier.record import record
from notifier.rendering import RenderError
from notifier.settle import Results, fail, settle, unstarted
from notifier.status import UNFINISHED, Actor, Status
from notifier.store import deliveries, dispatches, pauses
from notifier.store.deliveries import Loaded, Move
from notifier.store.dispatches import Claim
from notifier.store.engine import connect, statement
from notifier.store.pauses import Pause
from notifier.words import TRAITS, Channel, DispatchKind, InDoubt, Lane
from notifier.worker import Chunk, Worker, claiming

log = logger("deliver")

ALONE = 3
"""Claims of its own at most for a delivery that kills its workers, once it stands alone."""

FIRST_WINDOW = 32
"""Sends before the first flush to a provider whose pace is not known yet."""


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
            dispatches.postpone(connection, held, max(each.deadline for each in chain))
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
    provider, working = chain[0], 1
    if len(chain) > 1 or worker.routes():
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
            dispatches.add(connection, DispatchKind.RECONCILE, held, asked, timedelta())
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
    window = _next_window(chunk, worker, results)
    window, tokens = _with_tokens(chunk, window, results)
    ready = _render(chunk, window, results, tokens)
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


def _next_window(chunk: Chunk, worker: Worker, results: Results) -> list[Loaded]:
    """As many deliveries as the provider sends between two flushes, less what was stopped.

    At least as many as it sends at once: a provider that takes longer than a flush to answer would
    otherwise be given fewer and fewer, until it sent one after the other.
    """
    pace = worker.pace.get(chunk.provider.name)
    size = FIRST_WINDOW if pace is None else int(pace * worker.settings.flush_seconds)
    size = min(max(size, chunk.provider.at_once), TRAITS[chunk.channel].window)
    window = list(chunk.rest.values())[:size]
    with statement() as connection:
        stopped = deliveries.stopped(connection, list({d.event_id for d in window}))
        paused = pauses.active(connection) if stopped.pauses else []
        if chunk.held.attempts > 1:
            # The worker it was taken from may live, and have told meanwhile what it had sent.
            standing = deliveries.standing(connection, [d.id for d in window])
            results.settled += [
                i for i, (status, _) in standing.items() if status not in UNFINISHED
            ]
    going = []
    for delivery in window:
        if delivery.id in results.settled:
            continue
        if delivery.event_id in stopped.cancelled or delivery.id in stopped.singly:
            after = Status.CANCELLED
        elif delivery.event_id in stopped.expired:
            after = Status.EXPIRED
        elif pause := _pause_of(delivery, chunk, paused):
            results.parked.setdefault(pause, []).append(delivery.id)
            continue
        else:
            going.append(delivery)
            continue
        results.moves.append(Move(delivery.id, delivery.status, after, delivery.attempts))
    return _within_rate(chunk, going, results, worker)


def _within_rate(
    chunk: Chunk, going: list[Loaded], results: Results, worker: Worker
) -> list[Loaded]:
    """As many as the provider's rate has room for; all the rest of the chunk is due later."""
    rate = worker.limits.get(chunk.provider.name)
    if rate is None or not going:
        return going
    granted, wait = limits.take(
        chunk.provider.name, rate, len(going), urgent=chunk.held.lane is Lane.CRITICAL
    )
    if granted < len(going):
        settled = {move.id for move in results.moves} | set(results.settled)
        settled |= {i for ids in results.parked.values() for i in ids}
        started = {delivery.id for delivery in going[:granted]}
        results.later[wait] = [i for i in chunk.rest if i not in settled | started]
    return going[:granted]


def _pause_of(delivery: Loaded, chunk: Chunk, paused: Sequence[Pause]) -> uuid.UUID | None:
    """The pause that the delivery has to wait for."""
    event_type = chunk.events[delivery.event_id].type
    for pause in paused:
        if pause.fits(delivery.tenant_id, chunk.channel, chunk.provider.name, event_type):
            return pause.id
    return None


def _with_tokens(
    chunk: Chunk, window: list[Loaded], results: Results
) -> tuple[list[Loaded], Mapping[uuid.UUID, str | None]]:
    """The tokens of the accounts that tenants have connected, by tenant. Where one is not good now,
    its tenant's deliveries leave the window and are due again soon."""
    tokens: dict[uuid.UUID, str | None] = {}
    if chunk.provider.oauth is None:
        return window, tokens
    for tenant in {delivery.tenant_id for delivery in window}:
        try:
            tokens[tenant] = connections.token(tenant, chunk.provider)
        except connections.NotNow as why:
            log.warning("no_token", tenant=tenant, provider=chunk.provider.name, why=str(why))
    waits = [delivery.id for delivery in window if delivery.tenant_id not in tokens]
    if waits:
        results.later.setdefault(connections.LOOK_AGAIN, []).extend(waits)
    return [delivery for delivery in window if delivery.tenant_id in tokens], tokens


def _ends_token(outcome: Outcome, chunk: Chunk) -> TypeGuard[RetryLater | Rejected]:
    """Whether the vendor says with it that the token is good no more."""
    oauth = chunk.provider.oauth
    return (
        oauth is not None
        and isinstance(outcome, RetryLater | Rejected)
        and outcome.code in oauth.over
    )


def _render(
    chunk: Chunk,
    window: Sequence[Loaded],
    results: Results,
    tokens: Mapping[uuid.UUID, str | None],
) -> list[Message]:
    """Rendered messages; a template that fails dead-letters its own delivery and no other."""
    ready = []
    links = _links(chunk, window)
    lane = chunk.held.lane
    for delivery in window:
        event = chunk.events[delivery.event_id]
        shared = chunk.shared[delivery.event_id]
        link = links.get(delivery.id)
        try:
            token = tokens.get(delivery.tenant_id)
            ready.append(
                messages.compose(delivery, event, shared, chunk.channel, lane, link, token)
            )
        except RenderError as error:
            fail(delivery, results, None, "render", str(error), event.correlation_id)
        except NotifierError as error:
            fail(delivery, results, None, "template", str(error), event.correlation_id)
    return ready


def _links(chunk: Chunk, window: Sequence[Loaded]) -> dict[uuid.UUID, str]:
    """Where to acknowledge each delivery whose event asks for it, committed before it is sent."""
    asking = {i: event.expires_at for i, event in chunk.events.items() if event.escalates}
    if not asking:
        return {}
    with connect() as connection, connection.begin():
        return magic_links.make(
            connection, {d.id: asking[d.event_id] for d in window if d.event_id in asking}
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
