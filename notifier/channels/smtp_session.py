"""One SMTP connection: greeted, secured, logged in, and then one message after another.

`smtplib` does the opening; the transaction is ours, because `smtplib.sendmail` waits for
each reply in turn, reads replies without bound and can not say how far a message got.
"""

import re
import smtplib
import socket
import ssl
import time
from dataclasses import dataclass, field

from notifier import failpoints
from notifier.channels import wire
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure

REPLY_LINES = 64
REPLY_LINE = 2048
"""Bounds of a reply. RFC 5321, 4.5.3.1.5 allows 512 octets a line; some send more."""

DEAD_ADDRESS = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.10"})
"""Enhanced codes that say the recipient's address itself is wrong: bad mailbox, bad system,
bad syntax (RFC 3463, 3.2), domain that takes no mail (RFC 7505, 4.2). A bare 550 does not:
RFC 5321, 4.2.3 uses it for policy as well."""

AUTH_CODES = frozenset({"530", "534", "535", "538"})
"""RFC 4954, 6: the operator's credentials are wrong or missing, not the message."""

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?= |$)")


class NoSession(Exception):
    """No usable connection could be made; the message was not touched."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Server:
    """Where to connect and how; `security` is `starttls`, `tls` or `none`."""

    host: str
    port: int
    security: str
    tls: ssl.SSLContext
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """code: three digits. words: the lines after it, as they came."""

    code: int
    words: bytes

    @property
    def text(self) -> str:
        """The words on one line, shortened; made when asked for, as most replies only say yes."""
        return _words(self.words)

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


class Session(smtplib.SMTP):
    """An open connection. Used by one thread at a time; `until` before every use."""

    sock: wire.Stream | None
    left = False
    """Whether the final dot of the present message has left."""
    closing = False
    """Whether the connection is done for: the server said 421, or what has no meaning here, so that
    the replies that follow could be taken for those of another command."""
    _unfinished = False

    def __init__(self, server: Server, ends: float) -> None:
        """Connect, secure and log in before `ends`; raises `NoSession`."""
        super().__init__(local_hostname="localhost")
        try:
            self._open(server, ends)
        except smtplib.SMTPAuthenticationError as fault:
            self._refuse("auth", f"login refused: {fault.smtp_code} {_words(fault.smtp_error)}")
        except smtplib.SMTPResponseException as fault:
            self._refuse(str(fault.smtp_code), _words(fault.smtp_error))
        except smtplib.SMTPServerDisconnected:
            self._refuse("disconnected", "the server closed the connection before it was ready")
        except smtplib.SMTPException as fault:
            self._refuse("auth", f"login impossible: {fault}")
        except ssl.SSLError as fault:
            self._refuse("tls", f"no secure connection: {wire.kind(fault)}")
        except OSError as fault:
            self._refuse("connect", f"no connection: {wire.kind(fault)}")
        except ValueError:  # a login challenge that is not base64
            self._refuse("protocol", "the server's words can not be understood")
        self.pipelining = self.has_extn("pipelining")

    def until(self, ends: float) -> None:
        """Everything that follows has to be over by `ends` (`time.monotonic`)."""
        assert self.sock is not None
        self.sock.ends = ends

    def transact(self, sender: str, recipient: str, data: bytes) -> Outcome:
        """Send one message; `data` is dot-stuffed and ends with the final dot.

        Raises OSError or SMTPException when the connection fails; `left` says how far the
        message had got.
        """
        self.left = False
        refusal = self._envelope(sender, recipient)
        if refusal is not None:
            return refusal
        self._write(data)
        self.left = True  # sendall returned: every octet, the dot included, was handed over
        failpoints.reach("smtp.left")
        reply = self._reply()
        if 200 <= reply.code < 300:
            return Accepted(raw=str(reply))
        if 400 <= reply.code < 600:
            return refused(reply, of_recipient=True)
        self.closing = True
        return Unsure(f"an answer without meaning after the message had left: {reply}")

    def farewell(self) -> None:
        """QUIT as good manners (RFC 5321, 4.1.1.10), without waiting for the answer."""
        try:
            self.until(time.monotonic() + 1)
            self._write(b"QUIT\r\n")
        except (OSError, smtplib.SMTPException, AssertionError):
            pass
        self.close()

    def getreply(self) -> tuple[int, bytes]:
        """As in smtplib, but bounded in lines, and a timeout stays a TimeoutError."""
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("not connected")
        if self.file is None:
            self.file = self.sock.makefile("rb")
        lines: list[bytes] = []
        while True:
            line: bytes = self.file.readline(REPLY_LINE + 1)
            if not line.endswith(b"\n"):
                self.close()
                if len(line) > REPLY_LINE:
                    raise smtplib.SMTPResponseException(500, "a reply line without end")
                raise smtplib.SMTPServerDisconnected("connection closed")
            lines.append(line[4:].strip())
            if line[3:4] != b"-":
                break
            if len(lines) >= REPLY_LINES:
                self.close()
                raise smtplib.SMTPResponseException(500, "a reply without end")
        code = int(line[:3]) if line[:3].isdigit() else -1
        return code, b"\n".join(lines)

    def _open(self, server: Server, ends: float) -> None:
        stream = wire.dial(wire.resolve(server.host, server.port, ends), ends)
        self.sock = stream
        if server.security == "tls":
            self.sock = wire.encrypt(server.tls, stream, server.host, ends)
        greeting = self._reply()
        if greeting.code != 220:
            raise smtplib.SMTPConnectError(greeting.code, greeting.text)
        self.local_hostname = _own_name(self.sock)
        self._hello()
        if server.security == "starttls":
            if not self.has_extn("starttls"):
                self._refuse("tls", "the server offers no STARTTLS")
            code, words = self.docmd("STARTTLS")
            if code != 220:
                raise smtplib.SMTPResponseException(code, words)
            self.sock = wire.encrypt(server.tls, stream, server.host, ends)
            # RFC 3207, 4.2: forget what was said in the clear, buffered replies included.
            self.file = None
            self.ehlo_resp = None
            self.esmtp_features = {}
            self._hello()
        if server.username is not None:
            self.login(server.username, server.password or "")

    def _hello(self) -> None:
        code, words = self.ehlo()
        if code == 502 or code == 500:
            code, words = self.helo()
        if code != 250:
            raise smtplib.SMTPHeloError(code, words)

    def _refuse(self, code: str, reason: str) -> None:
        self.close()
        raise NoSession(code, reason) from None

    def _envelope(self, sender: str, recipient: str) -> Outcome | None:
        """MAIL, RCPT, DATA, in one write where the server allows it (RFC 2920)."""
        commands = [f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"]
        if self._unfinished:
            # The last transaction was refused half-way; MAIL would be a nested one.
            commands.insert(0, "RSET")
        fine = {"RSET": (250,), "MAIL": (250,), "RCPT": (250, 251, 252), "DATA": (354,)}
        self._unfinished = True
        if self.pipelining:
            self._write(("\r\n".join(commands) + "\r\n").encode("ascii"))
        refusal: Outcome | None = None
        for command in commands:
            if not self.pipelining:
                self._write(f"{command}\r\n".encode("ascii"))
            verb = command[:4]
            reply = self._reply()
            if refusal is not None:
                if verb == "DATA" and reply.code == 354:
                    # Refused, yet asked for the message: RFC 2920, 3.1 has us send none.
                    self._write(b".\r\n")
                    self._reply()
            elif reply.code not in fine[verb]:
                refusal = refused(reply, of_recipient=verb == "RCPT")
                self.closing = self.closing or not 400 <= reply.code < 600
                if self.closing or not self.pipelining:
                    return refusal
        if refusal is None:
            self._unfinished = False
        return refusal

    def _write(self, octets: bytes) -> None:
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("not connected")
        self.sock.sendall(octets)

    def _reply(self) -> Reply:
        code, words = self.getreply()
        self.closing = code == 421
        return Reply(code, words)


def refused(reply: Reply, of_recipient: bool) -> Outcome:
    """What a 4xx or 5xx means; anything else that was not expected is tried again."""
    code = str(reply.code)
    found = _ENHANCED.match(reply.text)
    enhanced = found.group() if found else ""
    if code in AUTH_CODES:
        return RetryLater("auth", str(reply))
    if 500 <= reply.code < 600:
        return Rejected(code, str(reply), of_recipient and enhanced in DEAD_ADDRESS)
    if 400 <= reply.code < 500:
        return RetryLater(code, str(reply))
    return RetryLater("protocol", f"unexpected answer: {reply}")


def _words(words: bytes | str) -> str:
    if isinstance(words, bytes):
        words = words.decode("utf-8", "replace")
    return " ".join(words.split())[:300]


def _own_name(stream: socket.socket) -> str:
    """The name for EHLO: our full host name, else our address (RFC 5321, 4.1.1.1)."""
    name = socket.gethostname()
    if "." in name and name.isascii():
        return name
    own = str(stream.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{own}]" if ":" in own else f"[{own}]"
