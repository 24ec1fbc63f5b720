"""One HTTP/2 connection, used by one thread: many requests at once, each with a total deadline.

The protocol is `h2`'s. What this adds is what a sender has to know of a request that came to
nothing: that it had no effect (`http.NotSent`: it did not leave in full, or the server says that
it did not look at it), or that nobody knows (`http.Unanswered`). Clients built on `h2` do not
tell, and their time-outs are per read.

`h2` takes a GOAWAY for the end of the connection, while the server still answers what it has begun
(RFC 9113, 6.8; https://github.com/python-hyper/h2/issues/1181). So these frames are taken out of
what arrives, and `h2` does not see them.
"""

import contextlib
import re
import select
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from notifier import failpoints
from notifier.channels import egress, http, wire

Result = http.Answer | http.NotSent | http.Unanswered

FRAME_HEAD = 9
"""Bytes before the content of a frame (RFC 9113, 4.1)."""

LONGEST_FRAME = 16384
"""What we let the server send, by not saying anything else (RFC 9113, 6.5.2)."""

AT_ONCE = 1 << 20
"""Bytes read before anything else is looked at, at most."""

GRACE = 0.01
"""Seconds in which what has arrived may be read, even when the time is up."""

IDLE = 30.0
"""Seconds without a word after which a connection is asked whether it still lives: what stands
between forgets quiet ones without telling."""

PATIENCE = 3.0
"""Seconds an answer to that may take."""

_PING = b"notifier"


@dataclass(slots=True)
class _Request:
    """One that is under way, and what is known of its answer."""

    ends: float
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """As `wire.tls_context`, for servers that speak HTTP/2. Raises OSError."""
    context = wire.tls_context(ca_file)
    context.set_alpn_protocols(["h2"])
    return context


class Connection:
    """Opens at once; raises `http.NotSent` or `egress.Forbidden`.

    tls: made by `tls_context`; a URL without TLS is spoken to in HTTP/2 all the same.
    usable: whether it takes another request.
    """

    def __init__(
        self, to: http.Target, tls: ssl.SSLContext, allowed: Sequence[egress.Network], ends: float
    ) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        self.usable = True
        self._writable, self._why = True, ""
        self._to = to
        self._requests: dict[int, _Request] = {}
        self._done: list[tuple[int, Result]] = []
        self._arrived = bytearray()
        self._greeted = self._answered = False
        self._heard = time.monotonic()
        self._stream = http.connect(to, tls, allowed, ends)
        self._h2 = H2Connection(H2Configuration(client_side=True))
        try:
            self._greet(ends)
        except BaseException:
            self._stream.close()
            raise

    def _greet(self, ends: float) -> None:
        """Say hello, and wait for the server's settings: how many requests it takes at once."""
        stream = self._stream
        if isinstance(stream, ssl.SSLSocket) and stream.selected_alpn_protocol() != "h2":
            raise http.NotSent("protocol", "the server does not speak HTTP/2")
        self._h2.initiate_connection()
        self._flush(ends)
        while self.usable and not self._greeted and time.monotonic() < ends:
            self._step(ends)
        if not self.usable:
            raise http.NotSent("connection", self._why or "nothing could be written")
        if not self._greeted:
            raise http.NotSent("settings", "the server said no hello in time")

    def has_room(self, size: int) -> bool:
        """Whether a request with a body of `size` bytes can go out now, in full."""
        return (
            self.usable
            and self._h2.open_outbound_streams < self._h2.remote_settings.max_concurrent_streams
            and self._h2.outbound_flow_control_window >= size
            and self._h2.remote_settings.initial_window_size >= size
        )

    def begin(self, headers: Sequence[tuple[str, str]], body: bytes, ends: float) -> int:
        """Send a POST, for which there `has_room`; its number.

        headers: `:path` first, names in lower case. Raises `http.NotSent`.
        """
        from h2.exceptions import ProtocolError

        try:
            number = self._h2.get_next_available_stream_id()
            self._h2.send_headers(
                number,
                [
                    (":method", "POST"),
                    (":scheme", "https" if self._to.secure else "http"),
                    (":authority", self._to.host_header),
                    *headers,
                    ("content-length", str(len(body))),
                ],
            )
            self._h2.send_data(number, body, end_stream=True)
        except ProtocolError as fault:  # it ran out of numbers
            self.usable = False
            raise http.NotSent("protocol", type(fault).__name__) from fault
        if not self._flush(ends):
            raise http.NotSent("connection", "the request could not be written")
        failpoints.reach("http.left")
        self._requests[number] = _Request(ends)
        return number

    def read(self) -> list[tuple[int, Result]]:
        """What came of requests, by their numbers; waits for the first of those under way."""
        while self._requests and not self._done:
            self._step(min(request.ends for request in self._requests.values()))
        done, self._done = self._done, []
        return done

    def wait(self, ends: float) -> None:
        """Hear what else the server has to say: perhaps there is room then."""
        self._step(ends)

    def is_alive(self, ends: float) -> bool:
        """Whether a connection on which nothing is under way still takes requests."""
        quiet = time.monotonic() - self._heard > IDLE
        if self._has_more():
            self._step(time.monotonic())
        if self.usable and quiet:
            self._answered = False
            self._h2.ping(_PING)
            self._flush(ends)
            patience = min(ends, time.monotonic() + PATIENCE)
            while self.usable and not self._answered and time.monotonic() < patience:
                self._step(patience)
            self.usable = self.usable and self._answered
        return self.usable

    def close(self) -> None:
        """Say goodbye, as far as that goes at once."""
        from h2.exceptions import ProtocolError

        with contextlib.suppress(ProtocolError):
            self._h2.close_connection()
            self._flush(time.monotonic() + GRACE)
        self._stream.close()

    # Reading

    def _step(self, ends: float) -> None:
        """Read what there is, waiting for something until `ends`; then give up what is too late."""
        arrived, over = self._receive(max(ends, time.monotonic() + GRACE))
        if arrived:
            self._heard = time.monotonic()
            over = self._feed(arrived) or over
        if over is not None:
            self._end(over)
        self._give_up_late()
        if self._writable and self._is_ready(select.POLLOUT):
            self._flush(time.monotonic() + GRACE)

    def _receive(self, ends: float) -> tuple[bytes, str | None]:
        """Bytes, and why there will be no more, where that is so. None at all: time is up."""
        buffer = bytearray(65536)
        arrived = b""
        self._stream.ends = ends
        while len(arrived) < AT_ONCE:
            try:
                count = self._stream.recv_into(buffer)
            except TimeoutError:
                break
            except OSError as fault:
                return arrived, f"the connection broke: {wire.kind(fault)}"
            if count == 0:
                return arrived, "the server closed the connection"
            arrived += buffer[:count]
            if not self._has_more():
                break
            self._stream.ends = time.monotonic() + GRACE
        return arrived, None

    def _has_more(self) -> bool:
        if isinstance(self._stream, ssl.SSLSocket) and self._stream.pending():
            return True
        return self._is_ready(select.POLLIN)

    def _is_ready(self, what: int) -> bool:
        poll = select.poll()
        poll.register(self._stream, what)
        return bool(poll.poll(0))

    def _feed(self, arrived: bytes) -> str | None:
        """Take in whole frames; why the connection can not go on, where that is so."""
        from h2.exceptions import ProtocolError
        from hyperframe.exceptions import HyperframeError
        from hyperframe.frame import Frame, GoAwayFrame

        self._arrived += arrived
        while len(self._arrived) >= FRAME_HEAD:
            try:
                frame, length = Frame.parse_frame_header(
                    memoryview(bytes(self._arrived[:FRAME_HEAD]))
                )
                if length > LONGEST_FRAME:
                    return "the server broke the protocol: a frame is too long"
                if len(self._arrived) < FRAME_HEAD + length:
                    break
                whole = bytes(self._arrived[: FRAME_HEAD + length])
                del self._arrived[: FRAME_HEAD + length]
                if isinstance(frame, GoAwayFrame):
                    self._go_away(whole[FRAME_HEAD:])
                else:
                    self._take(whole)
            except (ProtocolError, HyperframeError) as fault:
                return f"the server broke the protocol: {type(fault).__name__}"
        return None

    def _go_away(self, content: bytes) -> None:
        """No new requests; those after the last one it names were not looked at."""
        last = int.from_bytes(content[:4], "big") & 0x7FFFFFFF
        words = content[8:308].decode("utf-8", "replace")
        self.usable = False
        self._why = f"the server goes away: {words}" if words else "the server goes away"
        for number in [number for number in self._requests if number > last]:
            self._finish(number, http.NotSent("goaway", f"{self._why}; it did not look at this"))

    def _take(self, whole: bytes) -> None:
        from h2 import events
        from h2.errors import ErrorCodes

        for event in self._h2.receive_data(whole):
            match event:
                case events.RemoteSettingsChanged():
                    self._greeted = True
                case events.PingAckReceived():
                    self._answered = True
                case events.ResponseReceived() if event.stream_id in self._requests:
                    request = self._requests[event.stream_id]
                    request.headers = {_text(name): _text(value) for name, value in event.headers}
                    status = request.headers.get(":status", "")
                    request.status = int(status) if re.fullmatch("[1-9][0-9]{2}", status) else 0
                case events.DataReceived():
                    size, number = event.flow_controlled_length, event.stream_id
                    self._h2.acknowledge_received_data(size, number)
                    if number in self._requests:
                        request = self._requests[number]
                        if len(request.body) < http.BODY_LIMIT:
                            request.body += event.data
                case events.StreamEnded() if event.stream_id in self._requests:
                    self._finish(event.stream_id, http.Unanswered("the answer has no status"))
                case events.StreamReset() if event.stream_id in self._requests:
                    # RFC 9113, 8.7: a stream that was refused was not looked at.
                    refused = event.error_code == ErrorCodes.REFUSED_STREAM
                    self._finish(
                        event.stream_id,
                        http.NotSent("refused", "the server refused the stream")
                        if refused
                        else http.Unanswered("no answer: the stream was reset"),
                    )

    # Ends

    def _finish(self, number: int, otherwise: http.NotSent | http.Unanswered) -> None:
        """With the answer, where its status is known: the rest would only explain it."""
        request = self._requests.pop(number)
        result: Result = otherwise
        if request.status:
            line = f"HTTP/2 {request.status}"
            result = http.Answer(request.status, line, request.headers, request.body)
        self._done.append((number, result))

    def _end(self, why: str) -> None:
        self.usable = self._writable = False
        self._why = self._why or why
        for number in list(self._requests):
            self._finish(number, http.Unanswered(f"no answer: {self._why}"))

    def _give_up_late(self) -> None:
        from h2.errors import ErrorCodes
        from h2.exceptions import ProtocolError

        now = time.monotonic()
        for number in [n for n, request in self._requests.items() if request.ends <= now]:
            self._finish(number, http.Unanswered("no answer: the total deadline has passed"))
            with contextlib.suppress(ProtocolError):
                self._h2.reset_stream(number, ErrorCodes.CANCEL)

    def _flush(self, ends: float) -> bool:
        """Write what `h2` has to say; whether all of it left. What arrives can be read even so."""
        data = self._h2.data_to_send()
        if not data:
            return True
        self._stream.ends = ends
        try:
            self._stream.sendall(data)
        except OSError:
            self.usable = self._writable = False
            return False
        return True


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
