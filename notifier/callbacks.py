"""What providers call back with: kept in the request, applied by a worker.

A vendor is answered as soon as its facts are committed; what they mean takes locks that a burst of
call backs must not wait for. A fact that names no delivery we know is looked at again: it may have
been faster than our own outcome.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, assert_never

from sqlalchemy import Connection

from notifier import receipts
from notifier.acknowledge import acknowledge
from notifier.channels.contract import Acknowledged, Fact, Replied, Told
from notifier.errors import NotFoundError
from notifier.log import logger
from notifier.receipts import Receipt
from notifier.status import Status
from notifier.store import callbacks, deliveries, dispatches, received
from notifier.store.callbacks import Kept
from notifier.store.engine import UNAVAILABLE, connect
from notifier.store.suppressions import STOPPED
from notifier.words import Channel
from notifier.worker import Worker, claiming

log = logger("callbacks")

BATCH = 500
"""Facts applied in one transaction at most."""

WAITS = (
    timedelta(seconds=2),
    timedelta(seconds=30),
    timedelta(minutes=5),
    timedelta(hours=1),
    timedelta(hours=12),
)
"""Between two looks for the delivery that a fact speaks of; then it is kept, and counted."""


def keep(connection: Connection, provider: str, facts: Sequence[Fact]) -> None:
    """Keep facts in the caller's transaction; a worker applies them once it is committed."""
    if facts:
        callbacks.keep(connection, provider, [_written(fact) for fact in facts])


def keep_for_later(
    connection: Connection, provider: str, facts: Sequence[Fact], wait: timedelta
) -> None:
    """Keep facts that nobody is to know before `wait` is over, in the caller's transaction."""
    callbacks.keep_for_later(connection, provider, [_written(fact) for fact in facts], wait)


def receive(dispatch_id: uuid.UUID, worker: Worker) -> None:
    """Apply what is kept, until nothing is left to look at, the time is spent or we are to stop."""
    with claiming(dispatch_id, worker) as token:
        with connect() as connection, connection.begin():
            held = dispatches.claim(connection, dispatch_id, worker.settings.lease, token)
        if held is None:
            return
        until = time.monotonic() + min(
            worker.settings.chunk_seconds, worker.settings.lease_seconds / 2
        )
        while _apply_some():
            if worker.stopping() or time.monotonic() > until:
                with connect() as connection, connection.begin():
                    dispatches.hand_back(connection, held)
                return
        with connect() as connection, connection.begin():
            following = callbacks.next_look(connection)
            if following is None:
                dispatches.shrink(connection, held, [], worker.settings.lease)
            else:
                dispatches.postpone_until(connection, held, following)


def _apply_some() -> bool:
    """Apply a batch in one transaction; whether there was any."""
    try:
        with connect() as connection, connection.begin():
            batch = callbacks.take(connection, BATCH)
            if batch:
                _apply(connection, batch)
            return bool(batch)
    except UNAVAILABLE:
        raise
    except Exception:
        # A fault of ours with one of them: the others are applied without it.
        log.exception("not_applied_together")
    with connect() as connection, connection.begin():
        batch = callbacks.take(connection, BATCH)
        for fact in batch:
            try:
                with connection.begin_nested():
                    _apply(connection, [fact])
            except UNAVAILABLE:
                raise
            except Exception:
                log.exception("not_applied", callback=fact.id, provider=fact.provider)
                callbacks.look_again(connection, [(fact.id, None)])
        return bool(batch)


def _apply(connection: Connection, batch: Sequence[Kept]) -> None:
    """Apply facts, and forget those whose delivery is known."""
    read = [(kept, _read(kept.fact)) for kept in batch]
    known = _deliveries(connection, read)
    told: list[Receipt] = []
    done: list[uuid.UUID] = []
    later: list[tuple[uuid.UUID, timedelta | None]] = []
    for kept, fact in read:
        delivery = known.get(kept.id)
        match fact:
            case Replied(channel, address, wanted, word):
                act = callbacks.start if wanted else callbacks.stop
                tenants = act(connection, channel, address, STOPPED)
                log.info("replied", provider=kept.provider, word=word, tenants=tenants)
                done.append(kept.id)
            case Told() | Acknowledged() if delivery is None:
                wait = WAITS[kept.looks] if kept.looks < len(WAITS) else None
                later.append((kept.id, wait))
                if wait is None:
                    log.warning("unmatched", callback=kept.id, provider=kept.provider)
            case Told():
                told.append(
                    Receipt(
                        delivery,
                        fact.status,
                        kept.provider,
                        fact.at,
                        provider_message_id=fact.provider_message_id,
                        code=fact.code,
                        detail=fact.detail or fact.raw,
                        raw=fact.raw,
                        segments=fact.segments,
                        price=fact.price,
                        currency=fact.currency,
                    )
                )
                done.append(kept.id)
            case Acknowledged(_, by):
                told.append(Receipt(delivery, Status.OPENED, kept.provider, detail=by))
                _acknowledge(delivery, by)
                done.append(kept.id)
            case _:
                assert_never(fact)
    if told:
        receipts.apply(connection, told)
    if done:
        callbacks.drop(connection, done)
    if later:
        callbacks.look_again(connection, later)


def _acknowledge(delivery: uuid.UUID, by: str) -> None:
    """In a transaction of its own, before the fact is forgotten: it takes the event's lock, which
    nobody should wait for until a batch is done, and to repeat it does nothing."""
    # An event that asks for none is one that its recipient has seen, no more.
    with suppress(NotFoundError):
        acknowledge(delivery=delivery, how=by)


def _deliveries(
    connection: Connection, read: Sequence[tuple[Kept, Fact]]
) -> dict[uuid.UUID, uuid.UUID]:
    """The delivery that each fact speaks of: the one it names, else whose its provider's id is."""
    named = {
        kept.id: fact.delivery_id
        for kept, fact in read
        if isinstance(fact, Told | Acknowledged) and fact.delivery_id is not None
    }
    there = deliveries.standing(connection, sorted(set(named.values())))
    known = {fact: delivery for fact, delivery in named.items() if delivery in there}
    nameless: dict[str, list[tuple[Kept, str]]] = {}
    for kept, fact in read:
        if isinstance(fact, Told) and kept.id not in known:
            nameless.setdefault(kept.provider, []).append((kept, fact.provider_message_id))
    for provider, asked in nameless.items():
        owners = received.owners(connection, provider, sorted({told for _, told in asked}))
        known.update({kept.id: owners[told] for kept, told in asked if told in owners})
    return known


def _written(fact: Fact) -> dict[str, Any]:
    """A fact as JSON; `_read` reads it."""
    match fact:
        case Told():
            written = {
                "status": fact.status,
                "provider_message_id": fact.provider_message_id,
                "raw": fact.raw,
                "delivery_id": fact.delivery_id and str(fact.delivery_id),
                "at": fact.at and fact.at.isoformat(),
                "code": fact.code,
                "detail": fact.detail,
                "segments": fact.segments,
                "price": None if fact.price is None else str(fact.price),
                "currency": fact.currency,
            }
            return {"fact": "told", **{k: v for k, v in written.items() if v is not None}}
        case Replied(channel, address, wanted, word):
            return {
                "fact": "replied",
                "channel": channel,
                "address": address,
                "wanted": wanted,
                "word": word,
            }
        case Acknowledged(delivery_id, by):
            return {"fact": "acknowledged", "delivery_id": str(delivery_id), "by": by}
        case _:
            assert_never(fact)


def _read(written: Mapping[str, Any]) -> Fact:
    given = dict(written)
    match given.pop("fact"):
        case "told":
            for name, kind in _KINDS.items():
                if name in given:
                    given[name] = kind(given[name])
            return Told(**{"status": None, **given})
        case "replied":
            return Replied(**{**given, "channel": Channel(given["channel"])})
        case "acknowledged":
            return Acknowledged(uuid.UUID(given["delivery_id"]), given["by"])
        case other:
            raise ValueError(f"no fact is {other!r}")


_KINDS: dict[str, Any] = {
    "status": Status,
    "delivery_id": uuid.UUID,
    "at": datetime.fromisoformat,
    "price": Decimal,
}
