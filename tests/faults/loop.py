"""One asyncio loop in a thread of its own: for the proxies and the receivers of a stand."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self, TypeVar

from tests.channels import tricks

T = TypeVar("T")

TICK = 0.01
"""Seconds between two turns of the loop at most, where it is not held up."""

TURNS = 8
"""Turns of the loop that pass from a request's arrival until it has been read whole: it is accepted,
its head and its body are waited for, each a few turns."""

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Loop:
    """Use as a context manager; what still runs at its end is cancelled."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wires", daemon=True)
        self._turns: deque[float] = deque([time.time()] * TURNS, TURNS)

    @property
    def read_until(self) -> float:
        """A time by `time.time`: what had arrived by then has been read whole by now.

        A loop that had to wait for a processor reads late, and knows it only by this.
        """
        return self._turns[0]

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop.call_soon_threadsafe(self._turn)
        return self

    def _turn(self) -> None:
        self._turns.append(time.time())
        self._loop.call_later(TICK, self._turn)

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the loop and wait for what it returns; from any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def listen(self, serve: Serve, port: int = 0) -> asyncio.Server:
        """A server on a loopback port, a free one unless named."""

        async def serve_quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            except (
                *(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError),
                tricks.BrokenOff,
            ):
                pass  # the other side was killed, or we were told to cut it
            except asyncio.CancelledError:
                pass
            finally:
                writer.transport.abort() if writer.is_closing() else writer.close()

        async def start() -> asyncio.Server:
            return await asyncio.start_server(serve_quietly, "127.0.0.1", port, limit=1 << 20)

        return self.do(start())

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port
