"""One request over HTTP/1.1 with a total deadline, to an address that someone else may have chosen.

Written on `http.client.HTTPResponse` and not on a client library because what a client
adds is what must be absent here: proxies from the environment, redirects, cookies,
decompression, retries of its own. A call costs 0.09 ms of processor time, signature and
thread included; a bare loop of `requests.Session.post` 0.31 ms on the same machine.
"""

import http
import http.client
import re
import ssl
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import quote, urlsplit

from notifier import failpoints
from notifier.channels import egress, wire

KEPT = 64
"""Idle connections kept at most, over all hosts."""

IDLE = 4.0
"""Seconds a connection is kept idle. Node and uvicorn close after 5: a request that
crosses such a close is in doubt, so we are the first to let go."""

BODY_LIMIT = 64 * 1024
DRAIN_SECONDS = 1.0
"""How much of an answer's body is read, and for how long. The status has been read by
then; the rest only decides whether the connection can be kept."""


class NotSent(Exception):
    """The request did not leave in full, so it can not have taken effect."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Unanswered(Exception):
    """The request left, but no answer that can be read came back."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads: `host` in ASCII, `path` ready for the request line."""

    secure: bool
    host: str
    port: int
    path: str
    host_header: str


@dataclass(frozen=True, slots=True)
class Answer:
    """status: the code. line: the status line, shortened. headers: by name in lower case."""

    status: int
    line: str
    headers: Mapping[str, str]
    body: bytes


@lru_cache(maxsize=4096)
def target(url: str) -> Target:
    """Parse an http(s) URL without credentials; ValueError where it is not one."""
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        raise ValueError("not an http or https URL without credentials")
    if re.search(r"[\x00-\x20\x7f\\]", url):
        raise ValueError("a URL holds no blanks, control characters or backslashes")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    secure = parts.scheme == "https"
    usual = 443 if secure else 80
    port = parts.port or usual
    named = f"[{host}]" if ":" in host else host
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=-._~")
    if parts.query:
        path += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=-._~?")
    return Target(secure, host, port, path, named if port == usual else f"{named}:{port}")


def retry_after(value: str | None, now: datetime, most: timedelta) -> timedelta | None:
    """A Retry-After header (RFC 9110, 10.2.3) as a wait from zero to `most`; None if rubbish."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
            if moment.tzinfo is None:  # "-0000": a time in UTC, its zone unknown
                moment = moment.replace(tzinfo=UTC)
            seconds = (moment - now).total_seconds()
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    if seconds != seconds:  # "nan" is a float, too
        return None
    return timedelta(seconds=min(max(seconds, 0.0), most.total_seconds()))


def connect(
    to: Target, tls: ssl.SSLContext, allowed: Sequence[egress.Network], ends: float
) -> wire.Stream:
    """A new connection, encrypted where the URL says so. Raises `NotSent` or `egress.Forbidden`."""
    try:
        addresses = egress.vetted(to.host, to.port, ends, allowed)
    except OSError as fault:
        raise NotSent("resolve", f"the host can not be resolved: {wire.kind(fault)}") from fault
    try:
        stream = wire.dial(addresses, ends)
    except OSError as fault:
        raise NotSent("connect", f"no connection: {wire.kind(fault)}") from fault
    if not to.secure:
        return stream
    try:
        return wire.encrypt(tls, stream, to.host, ends)
    except OSError as fault:
        raise NotSent("tls", f"no secure connection: {wire.kind(fault)}") from fault


class Client:
    """Kept connections and the guard in front of new ones. `request` may be called by threads."""

    def __init__(self, ca_file: str | None = None, allowed: Sequence[egress.Network] = ()) -> None:
        self._tls = wire.tls_context(ca_file)
        self._allowed = tuple(allowed)
        self._idle: deque[tuple[tuple[bool, str, int], wire.Stream, float]] = deque()

    def request(
        self,
        method: str,
        to: Target,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        ends: float,
    ) -> Answer:
        """Send `body` and read the answer, all of it before `ends` (`time.monotonic`).

        Header values are ours or checked: a line break in one raises ValueError.
        Raises `NotSent`, `Unanswered` or `egress.Forbidden`.
        """
        lines = [
            f"{method} {to.path} HTTP/1.1",
            f"Host: {to.host_header}",
            f"Content-Length: {len(body)}",
            "Accept-Encoding: identity",
        ]
        lines += [f"{name}: {value}" for name, value in headers]
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
            raise ValueError("a header holds a line break")
        request = head.encode("latin-1") + b"\r\n\r\n" + body

        stream = self._take(to) or self._open(to, ends)
        keep = False
        try:
            stream.ends = ends
            try:
                stream.sendall(request)
            except OSError as fault:
                raise NotSent(
                    "connection", f"the request could not be written: {wire.kind(fault)}"
                ) from fault
            failpoints.reach("http.left")
            response = http.client.HTTPResponse(stream, method=method)
            try:
                try:
                    _begin(response)
                except (OSError, http.client.HTTPException, ValueError) as fault:
                    raise Unanswered(f"no answer: {wire.kind(fault)}") from fault
                content, keep = self._drain(response, stream)
                line = f"HTTP/{response.version / 10:.1f} {response.status} {response.reason}"
                received = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, line[:200], received, content)
            finally:
                response.close()
        finally:
            if keep:
                self._keep(to, stream)
            else:
                stream.close()

    def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            self._idle.pop()[1].close()

    def _drain(self, response: http.client.HTTPResponse, stream: wire.Stream) -> tuple[bytes, bool]:
        """The body as far as it is read, and whether the connection can be used again."""
        stream.ends = min(stream.ends, time.monotonic() + DRAIN_SECONDS)
        content = b""
        try:
            while len(content) < BODY_LIMIT:
                piece = response.read(BODY_LIMIT - len(content))
                content += piece
                if not piece:
                    break
        except (OSError, http.client.HTTPException, ValueError):
            return content, False
        # After 101 the connection speaks another protocol.
        usable = response.isclosed() and not response.will_close and response.status >= 200
        return content, usable

    def _open(self, to: Target, ends: float) -> wire.Stream:
        return connect(to, self._tls, self._allowed, ends)

    def _take(self, to: Target) -> wire.Stream | None:
        """A kept connection to the same place that is still silent, the freshest first."""
        wanted = (to.secure, to.host, to.port)
        now = time.monotonic()
        for _ in range(len(self._idle)):
            try:
                key, stream, since = self._idle.pop()
            except IndexError:
                return None
            if now - since > IDLE or wire.is_stale(stream):
                stream.close()
            elif key == wanted:
                return stream
            else:
                self._idle.appendleft((key, stream, since))
        return None

    def _keep(self, to: Target, stream: wire.Stream) -> None:
        self._idle.append(((to.secure, to.host, to.port), stream, time.monotonic()))
        while len(self._idle) > KEPT:
            self._idle.popleft()[1].close()


def _begin(response: http.client.HTTPResponse) -> None:
    """Read up to the headers of the final answer (RFC 9110, 15.2).

    http.client skips 100 and takes any other interim answer for the final one: that comes later,
    and would be read as the answer to the next request.
    """
    response.begin()
    while 100 <= response.status < 200 and response.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
        response.headers = None  # type: ignore[assignment] # then `begin` reads another
        response.begin()
