"""Where a stand's messages arrive: a mail server and an endpoint that log before they answer.

They know nothing of the database, so that their logs can be held against it.
"""

import asyncio
import time
from dataclasses import dataclass, field

from notifier.words import Channel
from tests.faults.loop import Loop, port_of


@dataclass(slots=True)
class Receipt:
    """One request that came in whole. accepted: whether the answer we gave takes it."""

    delivery: str
    channel: Channel
    at: float = field(default_factory=time.time)
    accepted: bool = True


class Log:
    """What the receivers of a stand were given, in the order in which it came."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []

    def note(self, delivery: str, channel: Channel) -> Receipt:
        receipt = Receipt(delivery, channel)
        self.receipts.append(receipt)
        return receipt

    def clear(self) -> None:
        self.receipts = []


class Mail:
    """Speaks SMTP on a free port."""

    def __init__(self, loop: Loop, log: Log) -> None:
        self.latency = 0.0
        self._log = log
        self.port = port_of(loop.listen(self._serve))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 stand ESMTP\r\n")
        while line := await reader.readline():
            word = line[:4].upper().strip()
            if word == b"EHLO":
                writer.write(b"250-stand\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
            elif word == b"DATA":
                writer.write(b"354 go on\r\n")
                await self._take(await reader.readuntil(b"\r\n.\r\n"), writer)
            elif word == b"QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250 2.0.0 ok\r\n")

    async def _take(self, message: bytes, writer: asyncio.StreamWriter) -> None:
        self._log.note(_header(message, b"X-Notifier-Delivery"), Channel.EMAIL)
        if self.latency:
            await asyncio.sleep(self.latency)
        writer.write(b"250 2.0.0 taken\r\n")


class Endpoint:
    """Takes webhooks on a free port."""

    def __init__(self, loop: Loop, log: Log) -> None:
        self.latency = 0.0
        self._log = log
        self.port = port_of(loop.listen(self._serve))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(_header(head, b"Content-Length") or 0))
            await self._take(head, writer)

    async def _take(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        self._log.note(_header(head, b"webhook-id"), Channel.WEBHOOK)
        if self.latency:
            await asyncio.sleep(self.latency)
        writer.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")


def _header(head: bytes, name: bytes) -> str:
    _, _, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip().decode()
