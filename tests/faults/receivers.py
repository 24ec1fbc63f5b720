"""Where a stand's messages arrive: a mail server and an endpoint that log before they answer.

They know nothing of the database, so that their logs can be held against it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from notifier.words import Channel
from tests.channels import tricks
from tests.channels.http_server import REPEATED, UNTIL
from tests.faults.loop import Loop, port_of


@dataclass(slots=True)
class Receipt:
    """One request that came in whole, after `since` and by `at`.

    accepted: whether the answer we gave takes it.
    """

    delivery: str
    channel: Channel
    since: float
    at: float
    accepted: bool = True


class Log:
    """What the receivers of a stand were given, in the order in which it came."""

    def __init__(self, loop: Loop) -> None:
        self.receipts: list[Receipt] = []
        self._loop = loop

    def note(self, delivery: str, channel: Channel, accepted: bool = True) -> None:
        now = time.time()
        since = min(self._loop.read_until, now)
        self.receipts.append(Receipt(delivery, channel, since, now, accepted))

    def clear(self) -> None:
        self.receipts = []


Stage = str
"""Where in a dialogue: GREETING, EHLO, MAIL, RCPT, DATA or DOT."""

MailFault = Callable[[Stage, str], str | None]
"""What is answered at a stage instead of the usual, one of `tricks` among it. The delivery is known
once its mail is there (DOT); an answer that begins with 2 and ends in LOST is never given."""

LOST = "…"


class Mail:
    """Speaks SMTP on a free port; `fault` makes it misbehave."""

    fault: MailFault | None = None

    def __init__(self, loop: Loop, log: Log) -> None:
        self.latency = 0.0
        self._log = log
        self.port = port_of(loop.listen(self._serve))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._say(writer, "GREETING", "220 stand ESMTP")
        while line := await reader.readline():
            word = line[:4].upper().strip().decode("latin-1")
            if word == "EHLO":
                await self._say(writer, word, "250-stand\r\n250-PIPELINING\r\n250 8BITMIME")
            elif word == "DATA":
                if (await self._say(writer, word, "354 go on")).startswith("354"):
                    await self._take(await reader.readuntil(b"\r\n.\r\n"), writer)
            elif word == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                await self._say(writer, word, "250 2.0.0 ok")

    async def _take(self, message: bytes, writer: asyncio.StreamWriter) -> None:
        delivery = _header(message, b"X-Notifier-Delivery")
        answer = self._answer("DOT", delivery, "250 2.0.0 taken")
        self._log.note(delivery, Channel.EMAIL, answer.startswith("2"))
        if self.latency:
            await asyncio.sleep(self.latency)
        await _give(answer, writer)

    def _answer(self, stage: Stage, delivery: str, usual: str) -> str:
        return (self.fault and self.fault(stage, delivery)) or usual

    async def _say(self, writer: asyncio.StreamWriter, stage: Stage, usual: str) -> str:
        answer = self._answer(stage, "", usual)
        await _give(answer, writer)
        return answer


async def _give(answer: str, writer: asyncio.StreamWriter) -> None:
    if answer in tricks.TRICKS:
        await tricks.play(answer, writer, b"250-and another line\r\n")
    if answer.endswith(LOST):
        raise tricks.BrokenOff
    writer.write(answer.encode() + b"\r\n")
    if answer.startswith("421"):
        raise tricks.BrokenOff


WebFault = Callable[[str], bytes | tuple[str, str] | None]
"""What a delivery's request is answered with instead of the usual: the bytes of an answer, or a
place of it (`UNTIL`) and the trick that is played there. At the place `taken` the request counts as
taken though nothing says so."""


class Endpoint:
    """Takes webhooks on a free port; `fault` makes it misbehave."""

    fault: WebFault | None = None
    before: Callable[[str, str, int], None] | None = None
    """Called with the delivery, the path and the sender's port before anything is answered."""

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
        delivery = _header(head, b"webhook-id")
        if self.before is not None:
            path = head.split(b" ", 2)[1].decode()
            self.before(delivery, path, writer.get_extra_info("peername")[1])
        answer = self.fault and self.fault(delivery)
        if answer is None:
            self._log.note(delivery, Channel.WEBHOOK)
            if self.latency:
                await asyncio.sleep(self.latency)
            writer.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
        elif isinstance(answer, bytes):
            self._log.note(delivery, Channel.WEBHOOK, answer[9:10] == b"2")
            writer.write(answer)
        else:
            place, trick = answer
            said = UNTIL.get(place, "").encode()
            taken = place == "taken" or said[9:10] == b"2"
            self._log.note(delivery, Channel.WEBHOOK, taken)
            writer.write(said)
            await tricks.play(trick, writer, REPEATED.get(place, b""))


def _header(head: bytes, name: bytes) -> str:
    _, _, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip().decode()
