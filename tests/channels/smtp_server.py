"""A small SMTP server whose every answer can be scripted; for tests and measurements."""

import asyncio
import ssl
import threading
from collections import deque

from tests.channels import tricks


class SmtpServer:
    """Speaks enough SMTP to receive mail on a free loopback port, in a thread of its own.

    script: a verb (`GREETING`, `EHLO`, `MAIL`, `RCPT`, `DATA`, `DOT`, `AUTH`, `TLS`, …) and the
    answers to give, first one first; without an entry the usual answer is given. One of `tricks`
    is played instead; `LOST` takes a mail and says nothing of it; what stands at `TLS` is done
    where the handshake should begin.
    """

    CUT = tricks.CUT
    HANG = tricks.HANG
    DRIP = tricks.DRIP
    FLOOD = tricks.FLOOD
    LOST = "2"

    def __init__(
        self,
        *,
        pipelining: bool = True,
        features: tuple[str, ...] = (),
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.script: dict[str, deque[str]] = {}
        self.mails: list[tuple[str, str, bytes]] = []
        self.commands: list[str] = []
        self.connections = 0
        self.open = 0
        self._tls, self._implicit, self._login = tls, implicit_tls, login
        self._features = [*(["PIPELINING"] if pipelining else []), *features]
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    def will(self, verb: str, *answers: str) -> None:
        """Answer the next commands `verb` so."""
        self.script.setdefault(verb, deque()).extend(answers)

    def __enter__(self) -> "SmtpServer":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def hang_up(self) -> None:
        """Close every open connection, as a restart would."""

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
        tls = self._tls if self._implicit else None
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=tls)
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
        self.open += 1
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, tricks.BrokenOff):
            pass
        except asyncio.CancelledError:
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._answer(writer, "GREETING", "220 test ESMTP")
        secure = self._implicit
        sender = recipient = ""
        in_mail = False
        while line := await reader.readline():
            text = line.decode("latin-1").rstrip("\r\n")
            verb = text.split(" ")[0].upper()
            self.commands.append(verb + text[len(verb) :])
            match verb:
                case "EHLO":
                    lines = ["test", *self._features]
                    if self._tls is not None and not secure:
                        lines.append("STARTTLS")
                    if self._login is not None:
                        lines.append("AUTH PLAIN LOGIN")
                    usual = "".join(f"250-{entry}\r\n" for entry in lines[:-1]) + f"250 {lines[-1]}"
                    await self._answer(writer, verb, usual)
                case "STARTTLS":
                    await self._answer(writer, verb, "220 go ahead")
                    assert self._tls is not None
                    if self.script.get("TLS"):
                        await self._answer(writer, "TLS", "")
                    await writer.start_tls(self._tls)
                    secure = True
                case "AUTH":
                    await self._answer(writer, verb, "235 2.7.0 welcome")
                case "MAIL":
                    if in_mail:
                        await self._answer(writer, "NESTED", "503 5.5.1 nested MAIL")
                        continue
                    recipient = ""
                    if (await self._answer(writer, verb, "250 2.1.0 ok")).startswith("250"):
                        sender, in_mail = text, True
                case "RCPT":
                    if not in_mail:
                        await self._answer(writer, "EARLY", "503 5.5.1 MAIL first")
                    elif (await self._answer(writer, verb, "250 2.1.5 ok")).startswith("2"):
                        recipient = text
                case "DATA":
                    usual = "354 go on" if recipient else "554 5.5.1 no valid recipients"
                    if not (await self._answer(writer, verb, usual)).startswith("354"):
                        continue
                    data = await _until_dot(reader)
                    in_mail = False
                    usual = "250 2.0.0 queued as 1" if recipient else "554 5.5.1 no recipients"
                    scripted = self.script.get("DOT")
                    if (scripted[0] if scripted else usual).startswith("2"):
                        self.mails.append((sender, recipient, data))
                    await self._answer(writer, "DOT", usual)
                case "RSET":
                    in_mail, recipient = False, ""
                    await self._answer(writer, verb, "250 2.0.0 ok")
                case "QUIT":
                    await self._answer(writer, verb, "221 bye")
                    return
                case _:
                    await self._answer(writer, verb, "500 5.5.2 what?")

    async def _answer(self, writer: asyncio.StreamWriter, verb: str, usual: str) -> str:
        scripted = self.script.get(verb)
        answer = scripted.popleft() if scripted else usual
        if answer == self.LOST:
            raise tricks.BrokenOff
        if answer in tricks.TRICKS:
            await tricks.play(answer, writer, b"250-and another line\r\n")
        writer.write(answer.encode() + b"\r\n")
        await writer.drain()
        if answer.startswith("421"):
            raise tricks.BrokenOff
        return answer


async def _until_dot(reader: asyncio.StreamReader) -> bytes:
    lines: list[bytes] = []
    while True:
        line = await reader.readuntil(b"\n")
        if line == b".\r\n":
            return b"".join(lines)
        lines.append(line[1:] if line.startswith(b".") else line)
