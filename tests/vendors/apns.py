"""Apple's push notification service: HTTP/2, with or without TLS.

Checks and answers as
https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns and
https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
describe them.
"""

import contextlib
import json
import re
import select
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from tests.vendors.tokens import verified

KEY_ID, TEAM, TOPIC = "ABC123DEFG", "DEF123GHIJ", "com.example.app"
DEVICE = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"

REFUSED = {
    "bad0" * 16: (400, "BadDeviceToken"),
    "901e" * 16: (410, "Unregistered"),
    "e0e0" * 16: (410, "ExpiredToken"),
    "f0f0" * 16: (400, "DeviceTokenNotForTopic"),
    "4290" * 16: (429, "TooManyRequests"),
    "4291" * 16: (429, "TooManyProviderTokenUpdates"),
    "5000" * 16: (500, "InternalServerError"),
    "5030" * 16: (503, "ServiceUnavailable"),
    "5031" * 16: (503, "Shutdown"),
    "aaaa" * 16: (400, "TopicDisallowed"),
    "bbbb" * 16: (400, "SomethingNew"),
}
"""Device tokens that are answered with reasons of Apple's table."""


@dataclass(frozen=True)
class Request:
    """One request, complete. connection: the how-manieth it came on."""

    number: int
    connection: int
    headers: dict[str, str]
    body: bytes

    @property
    def device(self) -> str:
        return self.headers[":path"].rpartition("/")[2]


@dataclass(frozen=True)
class Fault:
    """What happens instead of, or with, the answer to a request.

    silent: it is not answered. reset: its stream ends with this code. cut: the connection ends.
    goaway: the last stream that will still be looked at; `words` come with it.
    """

    silent: bool = False
    reset: int | None = None
    cut: bool = False
    goaway: int | None = None
    words: str = ""


@dataclass
class _Connection:
    """One client's."""

    number: int
    socket: socket.socket
    h2: H2Connection
    headers: dict[int, dict[str, str]] = field(default_factory=dict)
    bodies: dict[int, bytes] = field(default_factory=dict)
    waiting: list[tuple[float, Request]] = field(default_factory=list)
    last: int = 2**31 - 1
    trusted: bool = False


class APNs:
    """A server with a thread for each connection; use as a context manager.

    messages: payloads that were taken, by `apns-id`, each with its headers.
    requests: every one, in order. fault: asked for each before it has any effect.
    latency: seconds before every answer. connections: how many were opened. most: streams that were
    open at once. streams: as many are let in at once, after the first token that is believed: until
    then it is one, as with Apple. now: the server's clock.
    tokens: those that were believed, in order.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.messages: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self.requests: list[Request] = []
        self.fault: Callable[[Request], Fault | None] = lambda _: None
        self.latency = 0.0
        self.connections = self.most = 0
        self.streams = 1000
        self.tokens: list[str] = []
        self.now = time.time
        self._key = ec.generate_private_key(ec.SECP256R1())
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        self._tls = tls
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def environment(self, folder: Path) -> dict[str, str]:
        """What points the provider here."""
        path = folder / f"AuthKey_{KEY_ID}.p8"
        path.write_bytes(
            self._key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return {
            "NOTIFIER_APNS_KEY_FILE": str(path),
            "NOTIFIER_APNS_KEY_ID": KEY_ID,
            "NOTIFIER_APNS_TEAM_ID": TEAM,
            "NOTIFIER_APNS_TOPIC": TOPIC,
            "NOTIFIER_APNS_API_URL": self.url,
        }

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _listen(self) -> None:
        self._listener.settimeout(0.02)
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(client, self.connections))
                thread.start()
                self._threads.append(thread)

    def _serve(self, client: socket.socket, number: int) -> None:
        try:
            client.settimeout(10)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
            h2.initiate_connection()
            h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
            connection = _Connection(number, client, h2)
            client.sendall(h2.data_to_send())
            while not self._stopped.is_set() and self._turn(connection):
                pass
        except (OSError, ProtocolError):
            pass
        finally:
            client.close()

    def _turn(self, connection: _Connection) -> bool:
        """Read what came within a moment, and answer what is due; whether it goes on."""
        client, h2 = connection.socket, connection.h2
        pending = isinstance(client, ssl.SSLSocket) and client.pending()
        if pending or select.select([client], [], [], 0.002)[0]:
            data = client.recv(65536)
            if not data:
                return False
            for event in h2.receive_data(data):
                if isinstance(event, RequestReceived):
                    connection.headers[event.stream_id] = {
                        str(name): str(value) for name, value in event.headers
                    }
                    connection.bodies[event.stream_id] = b""
                    self.most = max(self.most, len(connection.headers))
                elif isinstance(event, DataReceived):
                    connection.bodies[event.stream_id] += event.data
                    h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamReset):
                    connection.headers.pop(event.stream_id, None)
                elif isinstance(event, StreamEnded) and event.stream_id <= connection.last:
                    headers = connection.headers[event.stream_id]
                    body = connection.bodies.pop(event.stream_id)
                    request = Request(event.stream_id, connection.number, headers, body)
                    with self._lock:
                        self.requests.append(request)
                    connection.waiting.append((time.monotonic() + self.latency, request))
        now = time.monotonic()
        due = [request for moment, request in connection.waiting if moment <= now]
        connection.waiting = [each for each in connection.waiting if each[0] > now]
        for request in due:
            if request.number <= connection.last and not self._answer(connection, request):
                return False
        if data := h2.data_to_send():
            client.sendall(data)
        return True

    def _answer(self, connection: _Connection, request: Request) -> bool:
        h2 = connection.h2
        fault = self.fault(request) or Fault()
        if fault.cut:
            return False
        if fault.goaway is not None:
            # Written past h2, which would send nothing more after it.
            connection.last = fault.goaway
            frame = GoAwayFrame(
                0, last_stream_id=fault.goaway, additional_data=fault.words.encode()
            )
            connection.socket.sendall(h2.data_to_send() + frame.serialize())
            if request.number > connection.last:
                return True
        if fault.silent:
            return True
        if request.number not in connection.headers:
            return True  # the client gave it up
        del connection.headers[request.number]
        if fault.reset is not None:
            h2.reset_stream(request.number, fault.reset)
            return True
        status, reason = self._judge(request)
        if status != 403 and not connection.trusted:
            connection.trusted = True
            h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: self.streams})
        told = [(":status", str(status)), ("apns-id", request.headers.get("apns-id", ""))]
        if reason is None:
            h2.send_headers(request.number, told, end_stream=True)
            return True
        said: dict[str, Any] = {"reason": reason}
        if status == 410:
            said["timestamp"] = int(time.time() * 1000)
        h2.send_headers(request.number, [*told, ("content-type", "application/json")])
        h2.send_data(request.number, json.dumps(said).encode(), end_stream=True)
        return True

    def _judge(self, request: Request) -> tuple[int, str | None]:
        headers = request.headers
        if headers[":method"] != "POST":
            return 405, "MethodNotAllowed"
        if not re.fullmatch(r"/3/device/[0-9a-f]+", headers[":path"]):
            return 404, "BadPath"
        word, _, token = headers.get("authorization", "").partition(" ")
        if word != "bearer":
            return 403, "MissingProviderToken"
        try:
            header, claims = verified(token, self._key.public_key())
        except ValueError:
            return 403, "InvalidProviderToken"
        if header.get("kid") != KEY_ID or claims.get("iss") != TEAM:
            return 403, "InvalidProviderToken"
        if not self.now() - 3600 < claims.get("iat", 0) <= self.now() + 60:
            return 403, "ExpiredProviderToken"
        with self._lock:
            if token not in self.tokens:
                self.tokens.append(token)
        try:
            uuid.UUID(headers["apns-id"])
        except (KeyError, ValueError):
            return 400, "BadMessageId"
        if not headers.get("apns-expiration", "0").isdigit():
            return 400, "BadExpirationDate"
        if headers.get("apns-priority", "10") not in ("1", "5", "10"):
            return 400, "BadPriority"
        if len(headers.get("apns-collapse-id", "").encode()) > 64:
            return 400, "BadCollapseId"
        if headers.get("apns-push-type") != "alert":
            return 400, "InvalidPushType"
        if "apns-topic" not in headers:
            return 400, "MissingTopic"
        if headers["apns-topic"] != TOPIC:
            return 400, "TopicDisallowed"
        if request.device in REFUSED:
            return REFUSED[request.device]
        if len(request.device) < 64:
            return 400, "BadDeviceToken"
        if not request.body:
            return 400, "PayloadEmpty"
        if len(request.body) > 4096:
            return 413, "PayloadTooLarge"
        payload = json.loads(request.body)
        assert payload["aps"]["alert"]["body"]
        assert isinstance(payload["aps"].get("badge", 0), int)
        with self._lock:
            self.messages[headers["apns-id"]] = (headers, payload)
        return 200, None
