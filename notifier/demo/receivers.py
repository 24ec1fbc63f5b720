"""Where the demo's messages arrive: a mail server, an endpoint and a carrier with their own logs.

They know nothing of the database, so that what they logged can be held against it.
"""

import asyncio
import email
import email.policy
import json
import re
import threading
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs


class MailServer:
    """Speaks SMTP on a free loopback port and counts what it took, by delivery id.

    links: those in it that acknowledge an event, as its recipients see them.
    """

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.example = ""
        self.links: list[str] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mail-server", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"220 demo ESMTP\r\n")
            while line := await reader.readline():
                word = line[:4].upper().strip()
                if word == b"EHLO":
                    writer.write(b"250-demo\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                elif word == b"DATA":
                    writer.write(b"354 go on\r\n")
                    message = await reader.readuntil(b"\r\n.\r\n")
                    self._take(message)
                    writer.write(b"250 2.0.0 taken\r\n")
                elif word == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                else:
                    writer.write(b"250 2.0.0 ok\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            # A worker was killed in the middle of a message: it was not taken.
            pass
        finally:
            writer.close()

    def _take(self, message: bytes) -> None:
        _, _, rest = message.partition(b"X-Notifier-Delivery:")
        self.taken[rest.partition(b"\r\n")[0].strip().decode()] += 1
        if not self.example:
            self.example = message.decode(errors="replace")
        if b"Subject: [CRITICAL]" in message:
            self._read(message)

    def _read(self, message: bytes) -> None:
        read = email.message_from_bytes(message, policy=email.policy.default)
        text = read.get_body(("plain",))
        assert text is not None
        self.links += re.findall(r"http\S+/a/[\w-]+", text.get_content())


class Receiver(ABC):
    """An HTTP server on a free loopback port; `answer` says what it answers to a POST."""

    def __init__(self, name: str) -> None:
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver._lock:
                    status, said = receiver.answer(self.headers, body)
                self.send_response(status)
                if said:
                    self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                """The counters are the log."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                """A worker was killed in the middle of a request."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @abstractmethod
    def answer(self, headers: "Message[str, str]", body: bytes) -> tuple[int, bytes]:
        """Status and JSON for one request; only one is answered at a time."""


class Endpoint(Receiver):
    """Takes webhooks; answers 503 to the first of each id, of as many as it is told to."""

    def __init__(self, failures: int) -> None:
        super().__init__("endpoint")
        self.taken: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._failures = failures
        self.url = f"{self.origin}/hook"

    def answer(self, headers: "Message[str, str]", body: bytes) -> tuple[int, bytes]:
        delivery = headers["webhook-id"]
        if self.failed[delivery] == 0 and len(+self.failed) < self._failures:
            self.failed[delivery] += 1
            return 503, b""
        self.taken[delivery] += 1
        return 204, b""


class Carrier(Receiver):
    """Takes SMS as Twilio's API does, or is out of order.

    https://www.twilio.com/docs/messaging/api/message-resource, "Create a Message".
    """

    def __init__(self) -> None:
        super().__init__("carrier")
        self.works = True
        self.taken = 0
        self.turned_away = 0

    def answer(self, headers: "Message[str, str]", body: bytes) -> tuple[int, bytes]:
        if not self.works:
            self.turned_away += 1
            return 503, b""
        self.taken += 1
        given = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        made = {"sid": f"SM{uuid.uuid4().hex}", "status": "queued", "to": given["To"]}
        return 201, json.dumps({**made, "error_code": None, "error_message": None}).encode()
