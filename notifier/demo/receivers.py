"""Where the demo's messages arrive: a mail server and an endpoint that keep their own logs.

They know nothing of the database, so that what they logged can be held against it.
"""

import asyncio
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class MailServer:
    """Speaks SMTP on a free loopback port and counts what it took, by delivery id."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.example = ""
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


class Endpoint:
    """Takes webhooks on a free loopback port; answers 503 to the first of each id it is told to."""

    def __init__(self, failures: int) -> None:
        self.taken: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._failures = failures
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                ok = endpoint.take(self.headers["webhook-id"])
                self.send_response(204 if ok else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """The counters are the log."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                """A worker was killed in the middle of a request."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="endpoint", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, delivery: str) -> bool:
        """Whether this request is taken, or turned away with a 503 to be tried again."""
        with self._lock:
            if self.failed[delivery] == 0 and len(+self.failed) < self._failures:
                self.failed[delivery] += 1
                return False
            self.taken[delivery] += 1
            return True
