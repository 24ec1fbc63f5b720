"""Send one dispatch: claim → load → render → send → record, window by window.

Each window's outcomes are one transaction, fenced by the claim's token, in which the dispatch
shrinks to what remains. No transaction is open while a provider is spoken to.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, assert_never

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from notifier import messages, retry
from notifier.channels.contract import Message, Provider
from notifier.errors import NotifierError, SettingError
from notifier.log import logger
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.rendering import RenderError
from notifier.settings import Settings
from notifier.status import UNFINISHED, Actor, Status
from notifier.store import deliveries, dispatches
from notifier.store.captures import KEEPERS, Kept
from notifier.store.deliveries import Loaded, LoadedEvent, Move
from notifier.store.dispatches import Claim
from notifier.store.engine import connect, statement
from notifier.words import TRAITS, Channel, DispatchKind, InDoubt

log = logger("deliver")

ALONE = 3
"""Claims that a delivery which kills its workers gets once it stands alone on its dispatch."""

FIRST_WINDOW = 32
"""Sends before the first flush to a provider whose pace is not known yet."""


@dataclass(slots=True)
class Worker:
    """What one worker process holds: its providers, its settings, and whether it is to stop."""

    providers: Mapping[Channel, Provider]
    settings: Settings
    stopping: Callable[[], bool] = lambda: False
    pace: dict[str, float] = field(default_factory=dict)
    """Sends per second of each provider, as last seen; sets the size of a window."""

    def check(self) -> None:
        """Refuse to start where a send could outlive its lease."""
        for provider in set(self.providers.values()):
            need = provider.deadline.total_seconds() + self.settings.flush_seconds
            if self.settings.lease_seconds <= need:
                raise SettingError(
                    "NOTIFIER_LEASE_SECONDS",
                    f"more than {need:g}: the deadline of {provider.name} and the flush interval",
                )


@dataclass(slots=True)
class Chunk:
    """A claimed dispatch and what was read for it."""

    held: Claim
    provider: Provider
    rest: dict[uuid.UUID, Loaded]
    events: dict[uuid.UUID, LoadedEvent]
    shared: dict[uuid.UUID, dict[str, Any]]
    """Of each event, the template variables that all its deliveries share."""
    started: float
    until: float
    """When the lease ends by this process's monotonic clock; never later than the database's."""


@dataclass(slots=True)
class Results:
    """The outcomes of a window, sorted into what must be written."""

    moves: list[Move] = field(default_factory=list)
    retries: dict[int, list[uuid.UUID]] = field(default_factory=dict)
    dead: dict[tuple[str, str], list[uuid.UUID]] = field(default_factory=dict)
    gone: dict[str, list[uuid.UUID]] = field(default_factory=dict)
    in_doubt: dict[str, list[uuid.UUID]] = field(default_factory=dict)
    ask: list[uuid.UUID] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    facts: list[tuple[uuid.UUID, str, int, str | None]] = field(default_factory=list)
    unstarted: list[Move] = field(default_factory=list)


def deliver(dispatch_id: uuid.UUID, worker: Worker) -> None:
    """Send what the dispatch carries, or as much as the time budget and a stop allow."""
    chunk = _claim(dispatch_id, worker)
    if chunk is None:
        return
    while chunk.rest:
        if worker.stopping() or time.monotonic() - chunk.started > worker.settings.chunk_seconds:
            _hand_back(chunk)
            return
        if not _send_window(chunk, worker):
            return


def _claim(dispatch_id: uuid.UUID, worker: Worker) -> Chunk | None:
    """Claim, load and take over; None where there is nothing (more) for this worker to do."""
    started = time.monotonic()
    with statement() as connection:
        held = dispatches.claim(connection, dispatch_id, worker.settings.lease)
    if held is None:
        return None
    assert held.channel is not None
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
        events = deliveries.load_events(connection, list({d.event_id for d in rest.values()}))
        messages.learn_templates(connection, rest.values())
    return Chunk(
        held,
        worker.providers[held.channel],
        rest,
        events,
        {i: messages.shared_context(event) for i, event in events.items()},
        started,
        started + worker.settings.lease_seconds,
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
        if status not in UNFINISHED:
            return False
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
    ready, claim = _render(chunk, window, results), chunk.held
    assert claim.channel is not None
    if TRAITS[claim.channel].in_doubt is InDoubt.RECONCILE and not _announce(chunk, ready, worker):
        return False

    deadline = chunk.provider.deadline.total_seconds()

    def may_start() -> bool:
        return not worker.stopping() and time.monotonic() + deadline < chunk.until

    began = flushed = time.monotonic()
    sent = 0
    waiting = {message.delivery_id: message for message in ready}
    outcomes = chunk.provider.send(ready, may_start)
    while True:
        try:
            message, outcome = next(outcomes)
        except StopIteration:
            break
        except Exception:
            # A fault of ours: what it had in hand is in doubt, what it told before is not.
            _record(chunk, results, worker)
            raise
        sent += 1
        del waiting[message.delivery_id]
        _settle(chunk, message, outcome, results, worker)
        now = time.monotonic()
        if now - flushed > worker.settings.flush_seconds:
            if not _record(chunk, results, worker):
                return False
            results, flushed = Results(), now
    if sent:
        elapsed = max(time.monotonic() - began, 1e-4)
        worker.pace[chunk.provider.name] = sent / elapsed
    for left in waiting:
        _unstarted(chunk, left, results)
    if not _record(chunk, results, worker):
        return False
    if waiting and not worker.stopping() and not may_start():
        # The lease was too short for another send; recording renewed it, or the claim is lost.
        return time.monotonic() + deadline < chunk.until
    return True


def _next_window(chunk: Chunk, worker: Worker, results: Results) -> list[Loaded]:
    """As many deliveries as the provider sends between two flushes, less what was stopped."""
    assert chunk.held.channel is not None
    pace = worker.pace.get(chunk.provider.name)
    size = FIRST_WINDOW if pace is None else int(pace * worker.settings.flush_seconds)
    size = max(1, min(size, TRAITS[chunk.held.channel].window))
    window = list(chunk.rest.values())[:size]
    with statement() as connection:
        cancelled, singly, expired = deliveries.stopped(
            connection, list({d.event_id for d in window})
        )
    going = []
    for delivery in window:
        if delivery.event_id in cancelled or delivery.id in singly:
            after = Status.CANCELLED
        elif delivery.event_id in expired:
            after = Status.EXPIRED
        else:
            going.append(delivery)
            continue
        results.moves.append(Move(delivery.id, delivery.status, after, delivery.attempts))
    return going


def _render(chunk: Chunk, window: Sequence[Loaded], results: Results) -> list[Message]:
    """Rendered messages; a template that fails dead-letters its own delivery and no other."""
    assert chunk.held.channel is not None
    ready = []
    for delivery in window:
        event = chunk.events[delivery.event_id]
        shared = chunk.shared[delivery.event_id]
        try:
            ready.append(messages.compose(delivery, event, shared, chunk.held.channel))
        except RenderError as error:
            _fail(delivery, results, None, "render", str(error), event.correlation_id)
        except NotifierError as error:
            _fail(delivery, results, None, "template", str(error), event.correlation_id)
    return ready


def _announce(chunk: Chunk, ready: Sequence[Message], worker: Worker) -> bool:
    """Commit `sending` before the calls of a channel that must not repeat them."""
    with connect() as connection, connection.begin():
        if not dispatches.shrink(connection, chunk.held, list(chunk.rest), worker.settings.lease):
            return False
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
        deliveries.move(connection, Actor.ENGINE, moves, chunk.held.attempts)
    return True


def _standing(chunk: Chunk, delivery: Loaded) -> Status:
    """The status the delivery's row has while this worker sends it."""
    assert chunk.held.channel is not None
    if TRAITS[chunk.held.channel].in_doubt is InDoubt.RECONCILE:
        return Status.SENDING
    return delivery.status


def _settle(
    chunk: Chunk, message: Message, outcome: Outcome, results: Results, worker: Worker
) -> None:
    """The one place that says what an outcome means."""
    delivery = chunk.rest[message.delivery_id]
    before = _standing(chunk, delivery)
    name, attempt = chunk.provider.name, message.attempt

    def moved(after: Status, code: str | None, detail: str | None) -> None:
        results.moves.append(Move(delivery.id, before, after, attempt, name, code, detail))

    match outcome:
        case Accepted(provider_message_id, raw, delivered):
            moved(Status.DELIVERED if delivered else Status.SENT, None, raw)
            if provider_message_id is not None:
                results.facts.append((delivery.id, provider_message_id, attempt, raw))
            if chunk.provider.keeps:
                results.kept.append(
                    Kept(
                        delivery.id,
                        delivery.tenant_id,
                        delivery.recipient_id,
                        message.event_type,
                        message.channel,
                        message.address,
                        attempt,
                        dict(message.parts),
                    )
                )
        case RetryLater(code, reason, after):
            wait = retry.next_attempt(attempt, worker.settings.delays, after)
            if wait is None:
                moved(Status.FAILED, code, reason)
                gave_up = f"gave up after {attempt} attempts: {reason}"
                results.dead.setdefault((code, gave_up), []).append(delivery.id)
            else:
                moved(Status.RETRYING, code, reason)
                results.retries.setdefault(round(wait.total_seconds()), []).append(delivery.id)
        case Rejected(code, reason, address_dead):
            if address_dead:
                moved(Status.BOUNCED, code, reason)
                results.gone.setdefault(f"{code} {reason}", []).append(delivery.id)
            else:
                moved(Status.FAILED, code, reason)
                results.dead.setdefault((code, reason), []).append(delivery.id)
        case Unsure(reason):
            _unsure(chunk, delivery, message, reason, results, worker)
        case _:
            assert_never(outcome)
    if not isinstance(outcome, Accepted):
        log.warning(
            "not_accepted",
            delivery=delivery.id,
            correlation_id=message.correlation_id,
            channel=message.channel,
            provider=name,
            attempt=attempt,
            outcome=type(outcome).__name__,
            code=getattr(outcome, "code", None),
        )


def _unsure(
    chunk: Chunk,
    delivery: Loaded,
    message: Message,
    reason: str,
    results: Results,
    worker: Worker,
) -> None:
    """An attempt whose outcome nobody knows, treated as its channel declares."""
    before = _standing(chunk, delivery)
    if TRAITS[message.channel].in_doubt is InDoubt.RECONCILE:
        results.ask.append(delivery.id)
        return
    wait = retry.next_attempt(message.attempt, worker.settings.delays)
    after = Status.UNKNOWN if wait is None else Status.RETRYING
    results.moves.append(
        Move(delivery.id, before, after, message.attempt, chunk.provider.name, "in_doubt", reason)
    )
    if wait is None:
        results.in_doubt.setdefault(reason, []).append(delivery.id)
    else:
        results.retries.setdefault(round(wait.total_seconds()), []).append(delivery.id)


def _fail(
    delivery: Loaded,
    results: Results,
    provider: str | None,
    code: str,
    reason: str,
    correlation_id: str,
) -> None:
    results.moves.append(
        Move(
            delivery.id,
            delivery.status,
            Status.FAILED,
            delivery.attempts,
            provider,
            code,
            reason,
        )
    )
    results.dead.setdefault((code, reason), []).append(delivery.id)
    log.error(
        "not_rendered", delivery=delivery.id, correlation_id=correlation_id, code=code, why=reason
    )


def _unstarted(chunk: Chunk, delivery_id: uuid.UUID, results: Results) -> None:
    """Take back the announcement of a send that was not begun; the dispatch keeps it."""
    delivery = chunk.rest[delivery_id]
    if _standing(chunk, delivery) is Status.SENDING:
        results.unstarted.append(
            Move(delivery.id, Status.SENDING, Status.QUEUED, delivery.attempts)
        )


def _record(chunk: Chunk, results: Results, worker: Worker) -> bool:
    """Write a window's outcomes in one transaction; False where the claim was lost meanwhile."""
    done = {m.id for m in results.moves} | set(results.ask)
    rest = [i for i in chunk.rest if i not in done]
    renewed = time.monotonic()
    repeated = False
    while True:
        try:
            won = _write(chunk, results, rest, worker)
            break
        except OperationalError:
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
            dispatches.add(connection, DispatchKind.DELIVER, held, ids, timedelta(seconds=wait))
        if results.ask:
            dispatches.add(connection, DispatchKind.RECONCILE, held, results.ask, timedelta())
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
    return True


def _tell_late(chunk: Chunk, results: Results) -> None:
    """The lease ran out while we sent: change nothing, but keep what the provider told."""
    log.warning("claim_lost", dispatch=chunk.held.id, deliveries=len(results.moves))
    facts = [
        (m.id, "", m.attempts, m.detail)
        for m in results.moves
        if m.after in (Status.SENT, Status.DELIVERED)
    ]
    told = {fact[0]: fact for fact in results.facts}
    if facts and not chunk.provider.keeps:
        with connect() as connection, connection.begin():
            deliveries.tell(
                connection,
                chunk.provider.name,
                [told.get(fact[0], fact) for fact in facts],
                late=True,
            )


def _hand_back(chunk: Chunk) -> None:
    with statement() as connection:
        dispatches.hand_back(connection, chunk.held)


def _counts(moves: Sequence[Move]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for move in moves:
        counts[move.after] = counts.get(move.after, 0) + 1
    return counts
