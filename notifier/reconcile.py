"""Settle attempts in doubt on channels that must not repeat them: ask the provider first."""

import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta

from notifier import failpoints, messages, retry
from notifier.channels.contract import Message, Provider
from notifier.log import logger
from notifier.outcome import Accepted, NotFound, Rejected, Unsure
from notifier.status import Actor, Status
from notifier.store import deliveries, dispatches
from notifier.store.deliveries import Move
from notifier.store.engine import connect
from notifier.words import DispatchKind
from notifier.worker import Worker, claiming

log = logger("reconcile")

Answer = Accepted | Rejected | NotFound | Unsure

ASK_AGAIN = timedelta(seconds=30)
"""Wait before a provider that could not tell is asked again."""


def _ask(provider: Provider, asked: Sequence[Message]) -> Iterator[tuple[Message, Answer]]:
    """The provider's answers; where it breaks, it could not tell about the rest."""
    waiting = {message.delivery_id: message for message in asked}
    try:
        for message, answer in provider.look_up(asked):
            del waiting[message.delivery_id]
            yield message, answer
    except Exception as fault:
        log.exception("look_up_failed", provider=provider.name)
        for message in waiting.values():
            yield message, Unsure(f"unexpected {type(fault).__name__} in the provider")


def reconcile(dispatch_id: uuid.UUID, worker: Worker) -> None:
    """Ask the provider about every delivery of the dispatch, and act on what it says.

    Found: its fact is written. Not found: it never arrived, and is sent again, the first time at
    once and then like any failed attempt. No answer: asked again, and after `doubt_seconds` it
    becomes `unknown`, or is repeated where its tenant chose so.
    """
    with claiming(dispatch_id, worker) as token:
        _reconcile(dispatch_id, token, worker)


def _reconcile(dispatch_id: uuid.UUID, token: uuid.UUID, worker: Worker) -> None:
    with connect() as connection, connection.begin():
        held = dispatches.claim(connection, dispatch_id, worker.settings.lease, token)
        if held is None:
            return
        assert held.channel is not None
        loaded = {d.id: d for d in deliveries.load(connection, held.delivery_ids)}
        events = deliveries.load_events(connection, list({d.event_id for d in loaded.values()}))
        generous = deliveries.tenants_that_resend(
            connection, list({d.tenant_id for d in loaded.values()})
        )
    provider = worker.providers[held.channel]
    asked = [
        messages.question(d, events[d.event_id], held.channel)
        for d in loaded.values()
        if d.status is Status.SENDING
    ]
    moves: list[Move] = []
    facts: list[tuple[uuid.UUID, str, int, str | None]] = []
    again: dict[timedelta, list[uuid.UUID]] = {}
    unsettled: list[uuid.UUID] = []
    gone: list[uuid.UUID] = []
    dead: list[tuple[uuid.UUID, str, str]] = []
    keep_asking: list[uuid.UUID] = []
    asked_until = time.monotonic() + worker.settings.lease_seconds / 2
    settled: set[uuid.UUID] = set()
    for message, answer in _ask(provider, asked):
        delivery = loaded[message.delivery_id]
        settled.add(delivery.id)

        def move(
            after: Status, detail: str | None, code: str | None = None, of: uuid.UUID = delivery.id
        ) -> None:
            moves.append(
                Move(of, Status.SENDING, after, loaded[of].attempts, provider.name, code, detail)
            )

        match answer:
            case Accepted(provider_message_id, raw, delivered):
                move(Status.DELIVERED if delivered else Status.SENT, raw)
                if provider_message_id is not None:
                    facts.append((delivery.id, provider_message_id, delivery.attempts, raw))
            case Rejected(code, reason, address_dead):
                move(Status.BOUNCED if address_dead else Status.FAILED, reason, code)
                if address_dead:
                    gone.append(delivery.id)
                else:
                    dead.append((delivery.id, code, reason))
            case NotFound():
                reason = "the provider has no trace of it"
                wait = retry.next_attempt(delivery.attempts, worker.settings.delays)
                if wait is None:
                    move(Status.FAILED, reason, "not_found")
                    dead.append((delivery.id, "not_found", reason))
                else:
                    move(Status.RETRYING, reason, "not_found")
                    wait = timedelta() if delivery.attempts == 1 else wait
                    again.setdefault(wait, []).append(delivery.id)
            case Unsure(reason):
                if held.age.total_seconds() < worker.settings.doubt_seconds:
                    keep_asking.append(delivery.id)
                elif (
                    delivery.tenant_id in generous
                    and retry.next_attempt(delivery.attempts, worker.settings.delays) is not None
                ):
                    move(Status.RETRYING, "repeated by its tenant's choice", "in_doubt")
                    again.setdefault(timedelta(), []).append(delivery.id)
                else:
                    move(Status.UNKNOWN, reason, "in_doubt")
                    unsettled.append(delivery.id)
        if time.monotonic() > asked_until:
            break
    # A delivery that is no longer `sending` was settled by its receipt.
    keep_asking += [
        d.id for d in loaded.values() if d.status is Status.SENDING and d.id not in settled
    ]
    failpoints.reach("reconcile.asked")
    with connect() as connection, connection.begin():
        if not dispatches.shrink(connection, held, keep_asking, worker.settings.lease):
            log.warning("claim_lost", dispatch=held.id)
            return
        deliveries.move(connection, Actor.ENGINE, moves, held.attempts)
        if facts:
            deliveries.tell(connection, provider.name, facts)
        for wait, ids in again.items():
            dispatches.add(connection, DispatchKind.DELIVER, held, ids, wait)
        if unsettled:
            deliveries.doubt(connection, unsettled, "the provider could not tell")
        if gone:
            deliveries.retire_addresses(connection, gone, "rejected by the provider")
        for delivery_id, code, reason in dead:
            deliveries.dead_letter(connection, [delivery_id], code, reason)
        held.delivery_ids = keep_asking
        if keep_asking and dispatches.drop_finished(connection, held, worker.settings.lease):
            dispatches.postpone(connection, held, ASK_AGAIN)
    log.info(
        "reconciled",
        dispatch=held.id,
        channel=held.channel,
        settled=len(moves),
        asked_again=len(keep_asking),
    )
