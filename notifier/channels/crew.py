"""Shares one batch among a few threads, at the pace of whoever reads the outcomes.

The reader feeds: a message is given out only for an outcome that was read. Whether a send may
begin is asked in the thread that is about to begin it (the lease may run low, or somebody said
stop); what was not begun is not yielded.
"""

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Thread

from notifier.channels.contract import MayStart, Message
from notifier.outcome import Outcome, Unsure

log = logging.getLogger("notifier.channels")

AHEAD = 2
"""Messages given out per thread: one in hand, one waiting, so that no thread idles."""


def share(
    messages: Sequence[Message],
    one: Callable[[Message], Outcome],
    hands: int,
    may_start: MayStart,
) -> Iterator[tuple[Message, Outcome]]:
    """Run `one` on every message, at most `hands` at once, and yield as outcomes come in.

    When the iterator is closed early, sends under way are finished (each within its own
    deadline), nothing further is begun, and no thread remains.
    """
    if hands <= 1 or len(messages) <= 1:
        for message in messages:
            if not may_start():
                return
            yield message, attempt(one, message)
        return

    todo: SimpleQueue[Message | None] = SimpleQueue()
    done: SimpleQueue[tuple[Message, Outcome | None]] = SimpleQueue()

    def work() -> None:
        while (message := todo.get()) is not None:
            done.put((message, attempt(one, message) if may_start() else None))

    waiting = iter(messages)
    for message in islice(waiting, hands * AHEAD):
        todo.put(message)
    threads = [Thread(target=work, name="notifier-send", daemon=True) for _ in range(hands)]
    started: list[Thread] = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
        for _ in range(len(messages)):
            message, outcome = done.get()
            if outcome is not None:
                yield message, outcome
            following = next(waiting, None)
            if following is not None:
                todo.put(following)
    finally:
        _empty(todo)
        for _ in started:
            todo.put(None)
        for thread in started:
            thread.join()


def attempt(one: Callable[[Message], Outcome], message: Message) -> Outcome:
    """The outcome of `one`; a fault of ours is `Unsure`, because it may have been sent.

    Only places are logged: an exception's text may hold an address or a body.
    """
    try:
        return one(message)
    except Exception as fault:
        places = "; ".join(
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(fault.__traceback__)
        )
        log.error(
            "delivery %s: unexpected %s at %s", message.delivery_id, type(fault).__name__, places
        )
        return Unsure(f"unexpected {type(fault).__name__} in the provider")


def _empty(queue: "SimpleQueue[Message | None]") -> None:
    while True:
        try:
            queue.get_nowait()
        except Empty:
            return
