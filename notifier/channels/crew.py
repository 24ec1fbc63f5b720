"""Shares one batch among a few threads, at the pace of whoever reads the outcomes.

The reader feeds: a message is given out only for an outcome that was read. Whether a send may
begin is asked in the thread that is about to begin it (the lease may run low, or somebody said
stop); what was not begun is not yielded.

A batch begins with one thread and gets another whenever outcomes come slowly: for a server that
answers at once more of them gain nothing (they share one interpreter), one that takes its time gets
as many as there may be. A moment's silence among many quick outcomes is the machine's, not the
server's, and brings in nobody.
"""

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from itertools import islice
from queue import SimpleQueue
from threading import Event, Thread

from notifier.channels.contract import MayStart, Message, Outcomes
from notifier.outcome import Outcome, Unsure

log = logging.getLogger("notifier.channels")

AHEAD = 32
"""Messages given out whose outcome is not read yet, so that no thread idles while the reader naps;
where there are many threads, two for each."""

MOST_UNDER_WAY = 14_000_000
"""Bytes of attachments under way at once: each message is in memory several times over, encoded."""

NAP = 0.001
"""Seconds the reader sleeps when there is no outcome: woken for each, it would contend for the
interpreter with the threads that send."""

PATIENCE = 0.002
"""Seconds one thread may take for an outcome, on average since the last one joined, before another
joins."""

STALL = 0.02
"""Seconds without any outcome after which another thread joins, however quick the others were."""


def share(
    messages: Sequence[Message],
    one: Callable[[Message], Outcome],
    hands: int,
    may_start: MayStart,
) -> Outcomes:
    """Run `one` on every message, at most `hands` at once, and yield as outcomes come in.

    When the iterator is closed early, or `may_start` has said no once, sends under way are
    finished (each within its own deadline), nothing further is begun, and no thread remains.
    """
    heaviest = max((message.weight for message in messages), default=0)
    if heaviest:
        hands = min(hands, max(1, MOST_UNDER_WAY // heaviest))
    if hands <= 1 or len(messages) <= 1:
        for message in messages:
            if not may_start():
                return
            yield message, attempt(one, message)
        return

    todo: SimpleQueue[Message | None] = SimpleQueue()
    done: SimpleQueue[tuple[Message, Outcome | None]] = SimpleQueue()
    stopped = Event()
    threads: list[Thread] = []
    joined = heard = 0.0
    told = 0

    def work() -> None:
        while (message := todo.get()) is not None:
            done.put((message, None if stops() else attempt(one, message)))

    def stops() -> bool:
        if not stopped.is_set():
            try:
                if may_start():
                    return False
            except Exception as fault:  # a thread that ended here would leave the reader waiting
                log.error("the question whether to go on failed: %s", _places(fault))
            stopped.set()
        return True

    def join_in() -> None:
        nonlocal hands, joined, heard, told
        thread = Thread(target=work, name="notifier-send", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not threads:
                raise
            # The system gives us no more: those there are go on.
            hands = len(threads)
            return
        threads.append(thread)
        joined = heard = time.monotonic()
        told = 0

    def next_done() -> tuple[Message, Outcome | None]:
        nonlocal heard, told
        if done.empty():
            time.sleep(NAP)
        while done.empty() and len(threads) < hands and not todo.empty():
            now = time.monotonic()
            if (now - joined) * len(threads) > PATIENCE * (told + 1) or now - heard > STALL:
                join_in()
            time.sleep(NAP)
        outcome = done.get()
        heard, told = time.monotonic(), told + 1
        return outcome

    waiting = iter(messages)
    given = 0
    for message in islice(waiting, max(AHEAD, 2 * hands)):
        todo.put(message)
        given += 1
    try:
        join_in()
        while given:
            message, outcome = next_done()
            given -= 1
            if outcome is not None:
                yield message, outcome
            following = None if stopped.is_set() else next(waiting, None)
            if following is not None:
                todo.put(following)
                given += 1
    finally:
        stopped.set()
        for _ in threads:
            todo.put(None)
        for thread in threads:
            thread.join()


def attempt(one: Callable[[Message], Outcome], message: Message) -> Outcome:
    """The outcome of `one`; a fault of ours is `Unsure`, because it may have been sent."""
    try:
        return one(message)
    except Exception as fault:
        log.error("delivery %s: unexpected %s", message.delivery_id, _places(fault))
        return Unsure(f"unexpected {type(fault).__name__} in the provider")


def _places(fault: Exception) -> str:
    """What failed and where; not the exception's text, which may hold an address or a body."""
    frames = traceback.extract_tb(fault.__traceback__)
    places = "; ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(fault).__name__} at {places}"
