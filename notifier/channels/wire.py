"""Sockets that keep a total deadline, under every provider that speaks for itself.

A socket's timeout is per read: a server that sends one byte a second never trips it.
These sockets know when the whole exchange must be over and give every read only what is
left. Writes and the TLS handshake need no such help: there CPython's timeout already is
the total (`socket.sendall` since 3.5, `SSLSocket.do_handshake` likewise).
"""

import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple


class Address(NamedTuple):
    """One answer of the resolver, ready to connect to."""

    family: int
    sockaddr: tuple[Any, ...]

    @property
    def ip(self) -> str:
        """The address in text, with a scope where it has one."""
        return str(self.sockaddr[0])


def left(ends: float) -> float:
    """Seconds until `ends` (`time.monotonic`); raises TimeoutError when there are none."""
    seconds = ends - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the total deadline has passed")
    return seconds


class TimedSocket(socket.socket):
    """A socket whose reads and writes all end at `ends`."""

    ends: float

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(left(self.ends))
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.settimeout(left(self.ends))
        super().sendall(data, flags)


class TimedSSLSocket(ssl.SSLSocket):
    """The same under TLS; made by a context of `tls_context`."""

    ends: float

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        self.settimeout(left(self.ends))
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.settimeout(left(self.ends))
        super().sendall(data, flags)


Stream = TimedSocket | TimedSSLSocket


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Verifies certificate and host name, TLS 1.2 or newer; trusts `ca_file` as well.

    Raises OSError (ssl.SSLError is one) where the file can not be used.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not context.cert_store_stats()["x509_ca"]:
        # Slim container images have no system store; requests brings this one anyway.
        import certifi

        context.load_verify_locations(certifi.where())
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    context.sslsocket_class = TimedSSLSocket
    return context


def encrypt(context: ssl.SSLContext, stream: TimedSocket, host: str, ends: float) -> TimedSSLSocket:
    """Shake hands as a client that expects `host`; `stream` must not be used afterwards."""
    stream.settimeout(left(ends))
    try:
        stream.getpeername()  # of one whose peer has gone, `wrap_socket` leaves a socket unclosed
        secured = context.wrap_socket(stream, server_hostname=host)
    except BaseException:
        stream.close()
        raise
    assert isinstance(secured, TimedSSLSocket)
    secured.ends = ends
    return secured


def resolve(host: str, port: int, ends: float) -> list[Address]:
    """Every address of `host`, in the resolver's order; OSError where there is none.

    `getaddrinfo` knows no timeout and may take the resolver's 10 to 30 s, so a name is
    asked for in a thread that is left behind when the deadline passes.
    """
    try:
        return _ask(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # a name, not a number
    answer: list[list[Address] | OSError] = []

    def ask() -> None:
        try:
            answer.append(_ask(host, port, 0))
        except OSError as fault:
            answer.append(fault)

    thread = threading.Thread(target=ask, name="notifier-resolve", daemon=True)
    thread.start()
    thread.join(left(ends))
    if not answer:
        raise TimeoutError("the resolver did not answer in time")
    if isinstance(answer[0], OSError):
        raise answer[0]
    return answer[0]


def _ask(host: str, port: int, flags: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError as fault:  # a label that is empty or longer than 63 octets
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from fault
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in found]


def dial(addresses: Sequence[Address], ends: float) -> TimedSocket:
    """Connect to the first address that answers; each gets its share of the time left."""
    fault: OSError = OSError("no address to connect to")
    for tried, address in enumerate(addresses):
        seconds = left(ends) / (len(addresses) - tried)
        stream = TimedSocket(address.family, socket.SOCK_STREAM)
        try:
            stream.settimeout(seconds)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream.connect(address.sockaddr)
        except OSError as problem:
            stream.close()
            fault = problem
        else:
            stream.ends = ends
            return stream
    raise fault


def is_stale(stream: Stream) -> bool:
    """Whether a kept connection that should be silent has something to say: a farewell."""
    poll = select.poll()
    poll.register(stream, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def kind(fault: BaseException) -> str:
    """A fault in words without addresses: its class, and the system's word for it."""
    detail = getattr(fault, "verify_message", None) or getattr(fault, "strerror", None)
    return f"{type(fault).__name__} ({detail})" if detail else type(fault).__name__
