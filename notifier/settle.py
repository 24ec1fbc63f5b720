"""What an outcome means: the one place that matches on them, and what must then be written."""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import assert_never

from notifier import retry, routing
from notifier.channels.contract import Fact, Message
from notifier.log import logger
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.status import Status
from notifier.store.captures import Kept
from notifier.store.deliveries import Loaded, Move, ToldNow
from notifier.worker import Chunk, Worker

log = logger("settle")


@dataclass(slots=True)
class Results:
    """The outcomes of a window, sorted into what must be written."""

    moves: list[Move] = field(default_factory=list)
    retries: dict[timedelta, list[uuid.UUID]] = field(default_factory=dict)
    dead: dict[tuple[str, str], list[uuid.UUID]] = field(default_factory=dict)
    gone: dict[str, list[uuid.UUID]] = field(default_factory=dict)
    in_doubt: dict[str, list[uuid.UUID]] = field(default_factory=dict)
    ask: list[uuid.UUID] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    facts: list[ToldNow] = field(default_factory=list)
    reports: dict[timedelta, list[Fact]] = field(default_factory=dict)
    """What a stand-in will tell of what it accepted, by how much later."""
    unstarted: list[Move] = field(default_factory=list)
    ok: int = 0
    failed: int = 0
    """Attempts that its provider answered as one that works, and those that say it does not."""
    parked: dict[uuid.UUID, list[uuid.UUID]] = field(default_factory=dict)
    """By the pause that they wait for."""
    later: dict[timedelta, list[uuid.UUID]] = field(default_factory=dict)
    """What the provider's rate leaves no room for now."""
    settled: list[uuid.UUID] = field(default_factory=list)
    """Finished by a receipt meanwhile: nothing to write but that the dispatch is rid of them."""


def settle(
    chunk: Chunk, message: Message, outcome: Outcome, results: Results, worker: Worker
) -> None:
    """The one place that says what an outcome means."""
    delivery = chunk.rest[message.delivery_id]
    before = chunk.standing(delivery)
    name, attempt = chunk.provider.name, message.attempt

    def moved(after: Status, code: str | None, detail: str | None) -> None:
        results.moves.append(Move(delivery.id, before, after, attempt, name, code, detail))

    match outcome:
        case Accepted(provider_message_id, raw, delivered, segments):
            moved(Status.DELIVERED if delivered else Status.SENT, None, raw)
            if provider_message_id is not None:
                results.facts.append((delivery.id, provider_message_id, attempt, raw, segments))
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
                        _as_it_looks(message),
                    )
                )
                for later, told in chunk.provider.reports(message).items():
                    results.reports.setdefault(later, []).append(told)
        case RetryLater(code, reason, after):
            wait = retry.next_attempt(attempt, worker.settings.delays, after)
            if wait is not None and routing.has_another(attempt, chunk.working.get(delivery.id, 1)):
                wait = timedelta()
            if wait is None:
                moved(Status.FAILED, code, reason)
                gave_up = f"gave up after {attempt} attempts: {reason}"
                results.dead.setdefault((code, gave_up), []).append(delivery.id)
            else:
                moved(Status.RETRYING, code, reason)
                results.retries.setdefault(wait, []).append(delivery.id)
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
    if isinstance(outcome, Accepted | Rejected):
        results.ok += 1
    elif not (isinstance(outcome, RetryLater) and outcome.throttled):
        results.failed += 1
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


def _as_it_looks(message: Message) -> dict[str, str]:
    """What of it is to be seen by whoever looks at what was captured: its parts, where it may be
    acknowledged, and the names of its files.
    """
    looks = dict(message.parts)
    if message.acknowledge_url is not None:
        looks["acknowledge_url"] = message.acknowledge_url
    if message.attachments:
        looks["attachments"] = ", ".join(file.name for file in message.attachments)
    return looks


def _unsure(
    chunk: Chunk,
    delivery: Loaded,
    message: Message,
    reason: str,
    results: Results,
    worker: Worker,
) -> None:
    """An attempt whose outcome nobody knows, treated as its channel declares."""
    before = chunk.standing(delivery)
    if chunk.announces:
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
        results.retries.setdefault(wait, []).append(delivery.id)


def fail(
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


def unstarted(chunk: Chunk, delivery_id: uuid.UUID, results: Results) -> None:
    """Take back the announcement of a send that was not begun; the dispatch keeps it."""
    delivery = chunk.rest[delivery_id]
    if chunk.standing(delivery) is Status.SENDING:
        results.unstarted.append(
            Move(delivery.id, Status.SENDING, Status.QUEUED, delivery.attempts)
        )
