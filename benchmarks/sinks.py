"""Where a benchmark's messages arrive: a process of its own that answers and counts.

`python -m benchmarks.sinks smtp|http|late-http|vendors [CERTIFICATE]` prints its port, then, at a
line on its standard input, how many messages it has taken. With a certificate it speaks TLS.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bench import InvariantsBroken
from benchmarks.vendor_apis import LENGTH, TAKES, Vendors, tls


class Sink:
    """A sink that runs beside the benchmark."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._asks, self._answers = process.stdin, process.stdout
        self.port = int(self._answers.readline())

    def taken(self) -> int:
        """Messages taken so far."""
        self._asks.write("\n")
        self._asks.flush()
        return int(self._answers.readline())

    def expect(self, count: int) -> None:
        """Refuse the figure where another number of messages has arrived."""
        taken = self.taken()
        if taken != count:
            raise InvariantsBroken(f"{count} messages expected, {taken} arrived")


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def sink(kind: str, *certificate: str) -> Iterator[Sink]:
    """Run the sink for `smtp`, `http` (or `late-http`, which takes its time) or the APIs of
    `vendors`; with a certificate over TLS.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sinks", kind, *certificate],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Sink(process)
    finally:
        process.kill()
        # Waits, and closes the pipes.
        process.communicate()


class _Smtp(asyncio.Protocol):
    """Answers every command with success, as fast as it reads; knows pipelining."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._out, self._held, self._in_message = transport, b"", False
        transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._held += data
        answers = []
        while True:
            if self._in_message:
                _, dot, rest = self._held.partition(b"\r\n.\r\n")
                if not dot:
                    break
                self._held, self._in_message = rest, False
                _Smtp.taken += 1
                answers.append(b"250 2.0.0 taken\r\n")
                continue
            line, end, rest = self._held.partition(b"\r\n")
            if not end:
                break
            self._held = rest
            word = line[:4].upper()
            if word == b"DATA":
                self._in_message = True
                # The dot's line end may be the message's first.
                self._held = b"\r\n" + self._held if self._held else b""
                answers.append(b"354 go on\r\n")
            elif word == b"EHLO":
                answers.append(b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
            elif word == b"QUIT":
                self._out.write(b"".join(answers) + b"221 bye\r\n")
                self._out.close()
                return
            else:
                answers.append(b"250 2.0.0 ok\r\n")
        if answers:
            self._out.write(b"".join(answers))


class _Http(asyncio.Protocol):
    """Answers every request with 204 once its body is in."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._out, self._held = transport, b""

    def data_received(self, data: bytes) -> None:
        self._held += data
        while True:
            head, end, rest = self._held.partition(b"\r\n\r\n")
            if not end:
                return
            length = LENGTH.search(head)
            size = int(length[1]) if length else 0
            if len(rest) < size:
                return
            self._held = rest[size:]
            type(self).taken += 1
            self._answer()

    def _answer(self) -> None:
        self._out.write(b"HTTP/1.1 204 No Content\r\n\r\n")


class _LateHttp(_Http):
    """The same after 10 ms, as the vendors."""

    def _answer(self) -> None:
        asyncio.get_running_loop().call_later(TAKES, super()._answer)


_KINDS: dict[str, type[_Smtp | _Http | Vendors]] = {
    "smtp": _Smtp,
    "http": _Http,
    "late-http": _LateHttp,
    "vendors": Vendors,
}


async def _main(kind: str, certificate: str | None = None) -> None:
    protocol = _KINDS[kind]
    loop = asyncio.get_running_loop()
    secure = tls(certificate) if certificate else None
    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=secure)
    print(server.sockets[0].getsockname()[1], flush=True)
    asked = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    while await asked.readline():
        print(protocol.taken, flush=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
