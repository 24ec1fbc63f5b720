"""What the stand-ins share: a real HTTP/1.1 server on loopback, and faults on request."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request. form: of its body, where that is one."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Said:
    """One answer. cut: the connection ends instead of it."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


class Vendor:
    """A vendor's server in threads of its own; use as a context manager.

    asked: every request, in order.
    before: called with each request before it has any effect; what it returns is the answer.
    after: called once the request took effect; what it returns is answered instead.
    latency: seconds before every answer. connections: how many were opened.
    tls: speaks it, with what this holds.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.before: Callable[[Asked], Said | None] = lambda _: None
        self.after: Callable[[Asked], Said | None] = lambda _: None
        self.latency = 0.0
        self.connections = 0
        self.lock = threading.Lock()
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one packet, as real servers do it.
            wbufsize = -1
            disable_nagle_algorithm = True

            def setup(self) -> None:
                with vendor.lock:
                    vendor.connections += 1
                super().setup()

            def log_message(self, *_: Any) -> None:
                pass

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                asked = Asked(
                    self.command,
                    parts.path,
                    dict(parse_qsl(parts.query, keep_blank_values=True)),
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                )
                with vendor.lock:
                    vendor.asked.append(asked)
                said = vendor.before(asked)
                if said is None:
                    said = vendor.answer(asked)
                    said = vendor.after(asked) or said
                if vendor.latency:
                    time.sleep(vendor.latency)
                if said.cut:
                    self.close_connection = True
                    return
                body = said.body
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(said.status)
                headers = {"Content-Type": "application/json", **said.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                self.wfile.flush()

            do_GET = do_POST = do_DELETE = do_PUT = _serve

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                """A client that goes away in the middle is part of the tests."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def answer(self, asked: Asked) -> Said:
        """What the vendor does and says; stand-ins fill this in."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
