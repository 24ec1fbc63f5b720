"""What stands in for the vendors under measure: each answers after 10 ms with what its API says."""

import asyncio
import json
import re
import ssl

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

TAKES = 0.01
"""Seconds from a request to its answer."""

_SAID: tuple[tuple[str, int, str], ...] = (
    (r"/v3/mail/send", 202, ""),  # SendGrid
    (r"/v2/email/outbound-emails", 200, '{"MessageId": "%s"}'),  # SES
    (
        r"/sms/json",  # Vonage
        200,
        '{"message-count": "1", "messages": [{"status": "0", "message-id": "%s"}]}',
    ),
    (r"/.*/Messages\.json", 201, '{"sid": "SM%s", "status": "queued"}'),  # Twilio
    (r"/.*/Calls\.json", 201, '{"sid": "CA%s", "status": "queued"}'),
    (r"/v1/projects/bench/messages:send", 200, '{"name": "projects/bench/messages/%s"}'),  # FCM
    (r"/webpush/.*", 201, ""),
    (r"/slack/chat\.postMessage", 200, '{"ok": true, "channel": "C1", "ts": "%s"}'),
    (r"/teams/.*", 202, ""),
    (r"/apprise/.*", 200, ""),
)
"""What is said to a message by the path it is posted to; %s: an id."""

_BATCH, _TOKEN = "/email/batch", "/token"


class Vendors(asyncio.Protocol):
    """The APIs over HTTP/1.1, and HTTP/2 where a client chose it."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            transport.set_protocol(Apns())
            transport.get_protocol().connection_made(transport)
            return
        self._out, self._held = transport, b""

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, end, rest = self._held.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        # One request at a time: no client of ours sends another before it has read the answer.
        if end and len(rest) >= (int(length[1]) if length else 0):
            self._held = b""
            path = head.split(b" ", 2)[1].decode()
            asyncio.get_running_loop().call_later(TAKES, self._answer, path, rest)

    def _answer(self, path: str, body: bytes) -> None:
        status, said = _answer(path, body)
        answer = said.encode()
        self._out.write(
            f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(answer)}\r\n\r\n".encode()
            + answer
        )


def _answer(path: str, body: bytes) -> tuple[int, str]:
    """Status and body; counts the messages."""
    if path == _TOKEN:
        return 200, '{"access_token": "bench", "expires_in": 3600, "token_type": "Bearer"}'
    if path == _BATCH:  # Postmark
        count = len(json.loads(body))
        Vendors.taken += count
        return 200, json.dumps([{"ErrorCode": 0, "MessageID": str(n)} for n in range(count)])
    for form, status, said in _SAID:
        if re.fullmatch(form, path):
            Vendors.taken += 1
            return status, said % f"{Vendors.taken:032x}" if "%s" in said else said
    return 404, '{"path": "unknown"}'


class Apns(asyncio.Protocol):
    """Apple's server over HTTP/2."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._out = transport
        self._h2 = H2Connection(H2Configuration(client_side=False))
        self._h2.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                asyncio.get_running_loop().call_later(TAKES, self._answer, event.stream_id)
        self._flush()

    def _answer(self, stream: int) -> None:
        Vendors.taken += 1
        self._h2.send_headers(
            stream, [(":status", "200"), ("apns-id", f"{Vendors.taken:032x}")], end_stream=True
        )
        self._flush()

    def _flush(self) -> None:
        if not self._out.is_closing():
            self._out.write(self._h2.data_to_send())


def tls(certificate: str) -> ssl.SSLContext:
    """For a server with the certificate and key of that file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
