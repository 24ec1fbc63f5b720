"""What of a claimed chunk goes next: what is stopped or waits leaves it, the rest is rendered."""

import uuid
from collections.abc import Mapping, Sequence

from notifier import connections, limits, magic_links, messages
from notifier.channels.contract import Attachment, Message
from notifier.errors import NotifierError
from notifier.log import logger
from notifier.rendering import RenderError
from notifier.settle import Results, fail
from notifier.status import UNFINISHED, Status
from notifier.store import attachments, deliveries, pauses
from notifier.store.deliveries import Loaded, Move
from notifier.store.engine import connect, statement
from notifier.store.pauses import Pause
from notifier.words import TRAITS, Channel, Lane
from notifier.worker import Chunk, Worker

log = logger("window")

FIRST_WINDOW = 32
"""Sends before the first flush to a provider whose pace is not known yet."""

MOST_HELD = 28_000_000
"""Bytes of attachments that a window's events have together."""

GONE = "a file it carries has been deleted"

Files = Mapping[uuid.UUID, Sequence[Attachment]]
"""What the e-mails of an event carry, by its id."""


def next_messages(chunk: Chunk, worker: Worker, results: Results) -> list[Message]:
    """The next window's messages, ready to be sent; what is not sent of it is in `results`."""
    window = _within_rate(chunk, _next_window(chunk, worker, results), results, worker)
    window, tokens = _with_tokens(chunk, window, results)
    window, files = _with_files(chunk, window, results)
    return _render(chunk, window, results, tokens, files)


def _next_window(chunk: Chunk, worker: Worker, results: Results) -> list[Loaded]:
    """As many deliveries as the provider sends between two flushes, less what was stopped.

    At least as many as it sends at once: a provider that takes longer than a flush to answer would
    otherwise be given fewer and fewer, until it sent one after the other.
    """
    pace = worker.pace.get(chunk.provider.name)
    size = FIRST_WINDOW if pace is None else int(pace * worker.settings.flush_seconds)
    size = min(max(size, chunk.provider.at_once), TRAITS[chunk.channel].window)
    window = _within_memory(chunk, list(chunk.rest.values())[:size])
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
    return going


def _carried(chunk: Chunk, delivery: Loaded) -> Sequence[uuid.UUID]:
    """The attachments that the delivery's message carries."""
    if chunk.channel is not Channel.EMAIL:
        return ()
    return chunk.events[delivery.event_id].attachments or ()


def _within_memory(chunk: Chunk, window: list[Loaded]) -> list[Loaded]:
    """The window up to where its events have more than `MOST_HELD` bytes of files; one has less."""
    ids = {i for delivery in window for i in _carried(chunk, delivery)}
    if not ids:
        return window
    with statement() as connection:
        sizes = attachments.sizes(connection, ids)
    held: set[uuid.UUID] = set()
    total = 0
    for n, delivery in enumerate(window):
        fresh = {*_carried(chunk, delivery)} - held
        total += sum(sizes.get(i, 0) for i in fresh)
        if total > MOST_HELD:
            return window[:n]
        held |= fresh
    return window


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


def _with_files(chunk: Chunk, window: list[Loaded], results: Results) -> tuple[list[Loaded], Files]:
    """The files of the window's events. A delivery whose file is gone is a dead letter: a mail that
    speaks of an invoice is not sent without it."""
    wanted = {d.event_id: _carried(chunk, d) for d in window}
    ids = {i for each in wanted.values() for i in each}
    if not ids:
        return window, {}
    with statement() as connection:
        found = {i: Attachment(*file) for i, file in attachments.load(connection, ids).items()}
    files = {
        event: [found[i] for i in each]
        for event, each in wanted.items()
        if all(i in found for i in each)
    }
    ready = []
    for delivery in window:
        if delivery.event_id in files:
            ready.append(delivery)
        else:
            event = chunk.events[delivery.event_id]
            fail(delivery, results, None, "attachment", GONE, event.correlation_id)
    return ready, files


def _render(
    chunk: Chunk,
    window: Sequence[Loaded],
    results: Results,
    tokens: Mapping[uuid.UUID, str | None],
    files: Files,
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
                messages.compose(
                    delivery,
                    event,
                    shared,
                    chunk.channel,
                    lane,
                    link,
                    token,
                    files.get(delivery.event_id, ()),
                )
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
