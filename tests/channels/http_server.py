"""A small HTTP server that misbehaves on request; for tests and measurements."""

import asyncio
import gzip
import ssl
import threading
from dataclasses import dataclass
from functools import cache

from tests.channels import tricks


@dataclass
class Request:
    """One request as it arrived; header names in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


_OK = "HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + "Transfer-Encoding: chunked\r\n\r\n"
UNTIL = {
    "line": "",
    "head": _OK,
    "body": _OK + "Content-Length: 1073741824\r\n\r\n",
    "chunk": _CHUNKED,
    "trailer": _CHUNKED + "2\r\nok\r\n0\r\n",
}
"""What is said before a trick at a place of the answer, and …"""
REPEATED = {
    "line": b"HTTP/1.1 200 OK\r\n",
    "head": b"X: y\r\n",
    "body": b"a line\r\n",
    "chunk": b"1\r\nx\r\n",
    "trailer": b"X: y\r\n",
}
"""… what it repeats."""


@cache
def bomb() -> bytes:
    """64 MiB of nothing, packed."""
    return gzip.compress(bytes(64 << 20))


class HttpServer:
    """Listens on a free loopback port, in a thread of its own; the path says what it does.

    `/status/503` answers so (`headers` adds some), `/slow`, `/huge`, `/bomb`, `/chunked`,
    `/garbage`, `/close`, `/early…`, `/switch` and `/lies` do what they say; `/line/…`,
    `/head/…`, `/body/…`, `/chunk/…` and `/trailer/…` play one of `tricks` at that place of the
    answer; any other path answers 200.

    deaf: read nothing of a request's body.
    """

    deaf = False

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self.headers: dict[str, str] = {}
        self.connections = 0
        self.written = 0
        self.server_names: list[str | None] = []
        self.port = 0
        self._tls, self._host = tls, host
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        if tls is not None:
            tls.sni_callback = lambda _, name, __: self.server_names.append(name)

    def __enter__(self) -> "HttpServer":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{host}:{self.port}{path}"

    def hang_up(self) -> None:
        """Close every open connection."""

        async def close() -> None:
            for writer in list(self._writers):
                writer.close()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, self._host, 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (
            *(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError),
            *(ssl.SSLError, tricks.BrokenOff),
        ):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head[:-4].split("\r\n")
        headers = {name.lower(): value for name, _, value in (f.partition(": ") for f in fields)}
        if self.deaf:
            await asyncio.sleep(3600)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append(Request(line, headers, body))
        path = line.split(" ")[1].partition("?")[0]
        more = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        match path.split("/")[1:]:
            case ["status", code]:
                await self._say(writer, f"HTTP/1.1 {code} So\r\n{more}Content-Length: 2\r\n\r\nok")
            case [place, trick] if place in UNTIL:
                await self._say(writer, UNTIL[place])
                await tricks.play(trick, writer, REPEATED[place])
            case ["slow"]:
                await asyncio.sleep(0.02)
                await self._say(writer, "HTTP/1.1 204 No Content\r\n\r\n")
            case ["garbage"]:
                await self._say(writer, "what do you want\r\n\r\n")
                return False
            case ["early", code]:
                await self._say(writer, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
                await self._say(writer, "HTTP/1.1 102 Processing\r\n\r\n")
                await asyncio.sleep(0.02)
                await self._say(writer, f"HTTP/1.1 {code} So\r\nContent-Length: 2\r\n\r\nok")
            case ["early"]:
                await self._say(writer, "HTTP/1.1 103 Early Hints\r\n\r\n")
            case ["switch"]:
                await self._say(writer, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
            case ["early-flood"]:
                await tricks.play("flood", writer, b"HTTP/1.1 100 Continue\r\n\r\n")
            case ["lies", length]:
                await self._say(writer, f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nok")
                return False
            case ["huge"]:
                await self._say(writer, f"HTTP/1.1 200 OK\r\nContent-Length: {1 << 30}\r\n\r\n")
                for _ in range(1 << 14):
                    await self._say(writer, "x" * (1 << 16))
            case ["bomb"]:
                packed = bomb()
                size = f"Content-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
                await self._say(writer, "HTTP/1.1 200 OK\r\n" + size)
                writer.write(packed)
                await writer.drain()
            case ["chunked"]:
                chunked = "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
                await self._say(writer, "HTTP/1.1 200 OK\r\n" + chunked)
            case ["close"]:
                await self._say(writer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok")
                return False
            case _:
                await self._say(writer, f"HTTP/1.1 200 OK\r\n{more}Content-Length: 2\r\n\r\nok")
        return True

    async def _say(self, writer: asyncio.StreamWriter, text: str) -> None:
        self.written += len(text)
        writer.write(text.encode("latin-1"))
        await writer.drain()
