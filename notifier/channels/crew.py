"""Shares one batch among a few threads, at the pace of whoever reads the outcomes.

The engine may stop reading at any time (its lease runs low, it was told to stop). So the
reader feeds: a message is given out only for an outcome that was read, and what has been
given out but not begun is taken back when the reader leaves.

A batch begins with one thread and gets another whenever no outcome has come for a moment: a
server that answers at once is served twice as fast by one thread as by eight (they contend
for the interpreter), one that takes its time by as many as there may be.
"""

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Thread

from notifier.channels.contract import Message
from notifier.outcome import Outcome, Unsure

log = logging.getLogger("notifier.channels")

AHEAD = 2
"""Messages given out per thread: one in hand, one waiting, so that no thread idles."""


PATIENCE = 0.002
"""Seconds without an outcome after which another thread joins."""


def share(
    messages: Sequence[Message], one: Callable[[Message], Outcome], hands: int
) -> Iterator[tuple[Message, Outcome]]:
    """Run `one` on every message, at most `hands` at once, and yield as outcomes come in.

    When the iterator is closed early, sends under way are finished (each within its own
    deadline), nothing further is begun, and no thread remains.
    """
    if hands <= 1 or len(messages) <= 1:
        for message in messages:
            yield message, attempt(one, message)
        return

    todo: SimpleQueue[Message | None] = SimpleQueue()
    done: SimpleQueue[tuple[Message, Outcome]] = SimpleQueue()

    def work() -> None:
        while (message := todo.get()) is not None:
            done.put((message, attempt(one, message)))

    threads: list[Thread] = []

    def join_in() -> None:
        thread = Thread(target=work, name="notifier-send", daemon=True)
        thread.start()
        threads.append(thread)

    def outcome() -> tuple[Message, Outcome]:
        while len(threads) < hands and not todo.empty():
            try:
                return done.get(timeout=PATIENCE)
            except Empty:
                join_in()
        return done.get()

    waiting = iter(messages)
    for message in islice(waiting, hands * AHEAD):
        todo.put(message)
    try:
        join_in()
        for _ in range(len(messages)):
            yield outcome()
            following = next(waiting, None)
            if following is not None:
                todo.put(following)
    finally:
        _empty(todo)
        for _ in threads:
            todo.put(None)
        for thread in threads:
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
