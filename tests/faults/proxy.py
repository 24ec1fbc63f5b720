"""A TCP proxy in front of Postgres or Redis that can freeze, cut, slow, swallow and lose answers."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.loop import Loop, port_of


@dataclass(eq=False, slots=True)
class _Pair:
    """A client's connection and ours to the server. lost: its bytes vanish, now and for good."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    lost: bool = False
    doomed: bool = False

    def abort(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


class Proxy:
    """Listens on a port of its own for as long as it lives, whatever the server does."""

    def __init__(self, loop: Loop, upstream: int) -> None:
        self._loop = loop
        self._upstream = upstream
        self._pairs: set[_Pair] = set()
        self._swallow = False
        self._watch: tuple[bytes, Callable[[], bool]] | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.lost_answers = 0
        self.lost = threading.Event()
        self._server = loop.listen(self._serve)
        self.port = port_of(self._server)

    def freeze(self) -> None:
        """Nothing passes either way, and nothing is closed; `heal` lets all of it through."""
        self._loop.do(self._set_flowing(False))

    def blackhole(self) -> None:
        """Bytes vanish, and those connections stay dead even after `heal`: a half-open peer."""
        self._loop.do(self._set_swallow(True))

    def lose_answer(self, to: bytes, when: Callable[[], bool] = lambda: True) -> None:
        """Let a request that holds `to` reach the server, and cut the connection instead of
        passing the answer on. Once; `when` chooses which of the requests (asked for each)."""
        self.lost.clear()
        self._watch = (to, when)

    def heal(self) -> None:
        """All as it should be, for new connections and for frozen ones."""
        self._watch = None
        self._loop.do(self._set_swallow(False))
        self._loop.do(self._set_flowing(True))

    async def _set_flowing(self, flowing: bool) -> None:
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _set_swallow(self, swallow: bool) -> None:
        self._swallow = swallow
        if swallow:
            for pair in self._pairs:
                pair.lost = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, to_server = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, to_server, lost=self._swallow)
        self._pairs.add(pair)
        pumps = [
            asyncio.ensure_future(self._pump(pair, reader, to_server, asking=True)),
            asyncio.ensure_future(self._pump(pair, upstream, writer, asking=False)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            pair.server.close()

    async def _pump(
        self,
        pair: _Pair,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        asking: bool,
    ) -> None:
        while data := await reader.read(1 << 16):
            await self._flowing.wait()
            if pair.lost:
                continue
            if asking and self._watch is not None:
                wanted, when = self._watch
                if wanted in data and when():
                    self._watch = None
                    pair.doomed = True
            elif pair.doomed:
                self.lost_answers += 1
                self.lost.set()
                pair.abort()
                return
            writer.write(data)
            await writer.drain()
