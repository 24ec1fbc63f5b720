"""Settle attempts in doubt on channels that must not repeat them: ask the provider first."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import assert_never

from notifier import failpoints, messages, retry
from notifier.channels.contract import Provider, Question
from notifier.log import logger
from notifier.outcome import Accepted, Answer, Candidates, NotFound, Rejected, Unsure
from notifier.status import Actor, Status
from notifier.store import deliveries, dispatches, received
from notifier.store.deliveries import Loaded, Move, ToldNow
from notifier.store.dispatches import Claim
from notifier.store.engine import connect, statement
from notifier.words import DispatchKind
from notifier.worker import Worker, claiming

log = logger("reconcile")


def reconcile(dispatch_id: uuid.UUID, worker: Worker) -> None:
    """Ask the provider about every delivery of the dispatch, and act on what it says.

    Found: its fact is written. Not found: it never arrived, and is sent again, the first time at
    once and then like any failed attempt. No answer, or none that can be believed yet: asked again,
    and after `doubt_seconds` it becomes `unknown`, or is repeated where its tenant chose so.
    """
    with claiming(dispatch_id, worker) as token:
        doubts = _claim(dispatch_id, token, worker)
        if doubts is None:
            return
        answers = _ask(doubts, time.monotonic() + worker.settings.lease_seconds / 2)
        failpoints.reach("reconcile.asked")
        _write(doubts, _settle(doubts, _told_apart(doubts, answers), worker), worker)


@dataclass(slots=True)
class _Doubts:
    """A claimed dispatch of attempts in doubt, and what was read for it."""

    held: Claim
    name: str
    """Of the provider that the attempts went through."""
    provider: Provider | None
    """None where that is not configured any more: nobody else can tell."""
    loaded: dict[uuid.UUID, Loaded]
    questions: Sequence[Question]
    generous: set[uuid.UUID]
    """Tenants that would rather have a message twice than not at all."""


@dataclass(slots=True)
class _Settled:
    """What the answers mean, sorted into what must be written."""

    moves: list[Move] = field(default_factory=list)
    facts: list[ToldNow] = field(default_factory=list)
    again: dict[timedelta, list[uuid.UUID]] = field(default_factory=dict)
    unknown: list[uuid.UUID] = field(default_factory=list)
    gone: list[uuid.UUID] = field(default_factory=list)
    dead: list[tuple[uuid.UUID, str, str]] = field(default_factory=list)
    keep_asking: list[uuid.UUID] = field(default_factory=list)


def _claim(dispatch_id: uuid.UUID, token: uuid.UUID, worker: Worker) -> _Doubts | None:
    with connect() as connection, connection.begin():
        held = dispatches.claim(connection, dispatch_id, worker.settings.lease, token)
        if held is None:
            return None
        assert held.channel is not None
        loaded = {d.id: d for d in deliveries.load(connection, held.delivery_ids)}
        # One that is no longer `sending` was settled by its receipt.
        doubtful = [d for d in loaded.values() if d.status is Status.SENDING]
        events = deliveries.load_events(connection, list({d.event_id for d in doubtful}))
        since = deliveries.announced(connection, [d.id for d in doubtful])
        generous = deliveries.tenants_that_resend(connection, list({d.tenant_id for d in doubtful}))
    # A dispatch of doubts comes of one claim, and so of one provider.
    name = next((d.provider for d in doubtful if d.provider is not None), "")
    return _Doubts(
        held,
        name,
        worker.named(held.channel, name),
        loaded,
        [
            Question(messages.question(d, events[d.event_id], held.channel), since[d.id])
            for d in doubtful
        ],
        generous,
    )


def _ask(doubts: _Doubts, until: float) -> dict[uuid.UUID, Answer]:
    """The provider's answers, as many as come in time; where it breaks, it could not tell."""
    provider = doubts.provider
    if provider is None:
        return _all_unsure(doubts, f"{doubts.name} is not configured any more")
    if doubts.held.age < provider.settles:
        return _all_unsure(doubts, "too early to tell")
    answers: dict[uuid.UUID, Answer] = {}
    try:
        for question, answer in provider.look_up(doubts.questions):
            answers[question.message.delivery_id] = answer
            if time.monotonic() > until:
                break
    except Exception as fault:
        log.exception("look_up_failed", provider=provider.name)
        unsure = _all_unsure(doubts, f"unexpected {type(fault).__name__} in the provider")
        answers = {**unsure, **answers}
    return answers


def _all_unsure(doubts: _Doubts, reason: str) -> dict[uuid.UUID, Answer]:
    return {question.message.delivery_id: Unsure(reason) for question in doubts.questions}


def _told_apart(
    doubts: _Doubts, answers: Mapping[uuid.UUID, Answer]
) -> Iterator[tuple[Loaded, Accepted | Rejected | NotFound | Unsure]]:
    """The answers with candidates weighed: those are not it that are known to be others'."""
    candidates = {
        told: delivery
        for delivery, answer in answers.items()
        if isinstance(answer, Candidates)
        for told in answer.found
    }
    owners: Mapping[str, uuid.UUID] = {}
    rivals: set[uuid.UUID] = set()
    if candidates:
        with statement() as connection:
            owners = received.owners(connection, doubts.name, list(candidates))
            rivals = deliveries.rivals(connection, list(set(candidates.values())))
    for delivery_id, answer in answers.items():
        delivery = doubts.loaded[delivery_id]
        if isinstance(answer, Candidates):
            yield delivery, _pick(delivery_id, answer, owners, delivery_id in rivals)
        else:
            yield delivery, answer


def _pick(
    delivery: uuid.UUID, answer: Candidates, owners: Mapping[str, uuid.UUID], has_rivals: bool
) -> Accepted | Rejected | NotFound | Unsure:
    """Which of the candidates it is.

    has_rivals: whether other attempts to the same address are in doubt too.
    """
    for told, became in answer.found.items():
        if owners.get(told) == delivery:
            return became
    free = [became for told, became in answer.found.items() if told not in owners]
    if not free:
        return NotFound()
    if len(free) == 1 and not has_rivals:
        return free[0]
    return Unsure("several messages to the same address may be it")


def _settle(
    doubts: _Doubts,
    told: Iterator[tuple[Loaded, Accepted | Rejected | NotFound | Unsure]],
    worker: Worker,
) -> _Settled:
    """What the answers mean."""
    settled = _Settled()
    answered: set[uuid.UUID] = set()
    name = doubts.name
    for delivery, answer in told:
        of, attempts = delivery.id, delivery.attempts
        answered.add(of)

        def move(
            after: Status,
            detail: str | None,
            code: str | None = None,
            of: uuid.UUID = of,
            attempts: int = attempts,
        ) -> None:
            settled.moves.append(Move(of, Status.SENDING, after, attempts, name, code, detail))

        match answer:
            case Accepted(provider_message_id, raw, delivered, segments):
                move(Status.DELIVERED if delivered else Status.SENT, raw)
                if provider_message_id is not None:
                    settled.facts.append((of, provider_message_id, attempts, raw, segments))
            case Rejected(code, reason, address_dead):
                move(Status.BOUNCED if address_dead else Status.FAILED, reason, code)
                if address_dead:
                    settled.gone.append(of)
                else:
                    settled.dead.append((of, code, reason))
            case NotFound():
                reason = "the provider has no trace of it"
                wait = retry.next_attempt(attempts, worker.settings.delays)
                if wait is None:
                    move(Status.FAILED, reason, "not_found")
                    settled.dead.append((of, "not_found", reason))
                else:
                    move(Status.RETRYING, reason, "not_found")
                    wait = timedelta() if attempts == 1 else wait
                    settled.again.setdefault(wait, []).append(of)
            case Unsure(reason):
                if doubts.held.age.total_seconds() < worker.settings.doubt_seconds:
                    settled.keep_asking.append(of)
                elif (
                    delivery.tenant_id in doubts.generous
                    and retry.next_attempt(attempts, worker.settings.delays) is not None
                ):
                    move(Status.RETRYING, "repeated by its tenant's choice", "in_doubt")
                    settled.again.setdefault(timedelta(), []).append(of)
                else:
                    move(Status.UNKNOWN, reason, "in_doubt")
                    settled.unknown.append(of)
            case _:
                assert_never(answer)
    asked = (question.message.delivery_id for question in doubts.questions)
    settled.keep_asking += [delivery for delivery in asked if delivery not in answered]
    return settled


def _write(doubts: _Doubts, settled: _Settled, worker: Worker) -> None:
    """All of it in one transaction, fenced by the claim."""
    held = doubts.held
    with connect() as connection, connection.begin():
        if not dispatches.shrink(connection, held, settled.keep_asking, worker.settings.lease):
            log.warning("claim_lost", dispatch=held.id)
            return
        deliveries.move(connection, Actor.ENGINE, settled.moves, held.attempts)
        if settled.facts:
            deliveries.tell(connection, doubts.name, settled.facts)
        for wait, ids in settled.again.items():
            dispatches.add(connection, DispatchKind.DELIVER, held, ids, wait)
        if settled.unknown:
            deliveries.doubt(connection, settled.unknown, "the provider could not tell")
        if settled.gone:
            deliveries.retire_addresses(connection, settled.gone, "rejected by the provider")
        for delivery_id, code, reason in settled.dead:
            deliveries.dead_letter(connection, [delivery_id], code, reason)
        held.delivery_ids = settled.keep_asking
        if held.delivery_ids and dispatches.drop_finished(connection, held, worker.settings.lease):
            # A lease later, as whoever takes over waits: its word may come of itself meanwhile.
            dispatches.postpone(connection, held, worker.settings.lease)
    log.info(
        "reconciled",
        dispatch=held.id,
        channel=held.channel,
        settled=len(settled.moves),
        asked_again=len(settled.keep_asking),
    )
