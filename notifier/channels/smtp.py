"""E-mail by SMTP submission, over a few kept connections."""

import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from smtplib import SMTPException

from notifier.channels import addresses, crew, dkim, variables, wire
from notifier.channels.contract import MayStart, Message, Outcomes, Provider
from notifier.channels.mime import Composer, Sender
from notifier.channels.smtp_session import NoSession, Server, Session
from notifier.errors import SettingError
from notifier.outcome import Outcome, Rejected, RetryLater, Unsure
from notifier.words import Channel

HOST = "NOTIFIER_SMTP_HOST"
PORT = "NOTIFIER_SMTP_PORT"
USERNAME = "NOTIFIER_SMTP_USERNAME"
PASSWORD = "NOTIFIER_SMTP_PASSWORD"
SECURITY = "NOTIFIER_SMTP_SECURITY"
FROM = "NOTIFIER_SMTP_FROM"
CONNECTIONS = "NOTIFIER_SMTP_CONNECTIONS"
TIMEOUT = "NOTIFIER_SMTP_TIMEOUT_SECONDS"
CA_FILE = "NOTIFIER_SMTP_CA_FILE"
DKIM_KEY = "NOTIFIER_SMTP_DKIM_KEY"
DKIM_SELECTOR = "NOTIFIER_SMTP_DKIM_SELECTOR"
DKIM_DOMAIN = "NOTIFIER_SMTP_DKIM_DOMAIN"

USUAL_PORT = {"starttls": 587, "tls": 465, "none": 25}
"""RFC 6409 (submission), RFC 8314 (submission over TLS), RFC 5321."""

_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")


class Smtp(Provider):
    """Any server that speaks SMTP. Its own retries after acceptance are its business."""

    name = "smtp"
    channels = frozenset({Channel.EMAIL})

    def __init__(
        self,
        server: Server,
        sender: Sender,
        *,
        connections: int = 4,
        deadline: timedelta = timedelta(seconds=15),
        signer: dkim.Signer | None = None,
    ) -> None:
        self.deadline = deadline
        self._server = server
        self._sender = sender
        self._signer = signer
        self.at_once = connections
        self._idle: deque[Session] = deque()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Smtp | None":
        host = variables.text(environment, HOST)
        if host is None:
            return None
        if not host.isascii() or any(character in host for character in " /@\\"):
            raise SettingError(HOST, "a host name or an IP address")
        security = variables.one_of(environment, SECURITY, "starttls", tuple(USUAL_PORT))
        username = variables.text(environment, USERNAME)
        password = environment.get(PASSWORD) or None
        if (username is None) != (password is None):
            missing = PASSWORD if password is None else USERNAME
            raise SettingError(missing, f"a value, because {USERNAME} and {PASSWORD} go together")
        for variable, value in ((USERNAME, username), (PASSWORD, password)):
            if value is not None and not value.isascii():
                raise SettingError(variable, "ASCII characters only (smtplib can send no others)")
        try:
            sender = Sender(environment.get(FROM, "").strip())
        except ValueError as fault:
            raise SettingError(FROM, "an address such as 'Name <name@example.com>'") from fault
        try:
            tls = wire.tls_context(variables.existing_file(environment, CA_FILE))
        except OSError as fault:
            raise SettingError(CA_FILE, "a file of PEM certificates") from fault
        return cls(
            Server(
                host=host,
                port=variables.whole(environment, PORT, USUAL_PORT[security], 1, 65535),
                security=security,
                tls=tls,
                username=username,
                password=password,
            ),
            sender,
            connections=variables.whole(environment, CONNECTIONS, 4, 1, 32),
            deadline=timedelta(seconds=variables.whole(environment, TIMEOUT, 15, 1, 25)),
            signer=_signer(environment, sender),
        )

    @classmethod
    def variables(cls) -> Sequence[str]:
        return (
            HOST,
            PORT,
            USERNAME,
            PASSWORD,
            SECURITY,
            FROM,
            CONNECTIONS,
            TIMEOUT,
            CA_FILE,
            DKIM_KEY,
            DKIM_SELECTOR,
            DKIM_DOMAIN,
        )

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        composer = Composer(self._sender, datetime.now(UTC))
        return crew.share(
            messages,
            lambda message: self._one(composer, message),
            self.at_once,
            may_start,
        )

    def check_address(self, channel: Channel, address: str) -> str | None:
        return addresses.check_address(channel, address)

    def check(self) -> str | None:
        """Connect, secure and log in; leaves the connection for the first message."""
        try:
            self._idle.append(Session(self._server, self._ends()))
        except NoSession as fault:
            return f"{fault.code}: {fault.reason}"
        return None

    def close(self) -> None:
        while self._idle:
            self._idle.pop().farewell()

    def _ends(self) -> float:
        return time.monotonic() + self.deadline.total_seconds()

    def _one(self, composer: Composer, message: Message) -> Outcome:
        ends = self._ends()
        if any(mark in message.address for mark in "\r\n\0"):
            return Rejected("invalid_header", "To holds CR, LF or NUL")
        recipient = addresses.ascii_email(message.address)
        if recipient is None:
            if addresses.check_address(Channel.EMAIL, message.address) is None:
                return Rejected("smtputf8", "the local part is not ASCII, which needs SMTPUTF8")
            return Rejected("invalid_address", f"not {addresses.EXPECTED_EMAIL}", True)
        composed = composer.compose(message, recipient)
        if isinstance(composed, Rejected):
            return composed
        if self._signer is not None:
            composed = self._signer.signed(composed)
        return self._transmit(recipient, stuffed(composed), ends)

    def _transmit(self, recipient: str, data: bytes, ends: float) -> Outcome:
        """On a kept connection; on a fresh one where that proves dead before the final dot."""
        try:
            session = self._idle.pop()
        except IndexError:
            pass
        else:
            session.until(ends)
            outcome = self._try(session, recipient, data)
            # A 421 before the message is how servers end a connection that sat idle.
            idled = isinstance(outcome, RetryLater) and outcome.code == "421"
            if outcome is not None and (session.left or not idled):
                return outcome
        try:
            session = Session(self._server, ends)
        except NoSession as fault:
            return RetryLater(fault.code, fault.reason)
        return self._try(session, recipient, data) or RetryLater(
            "disconnected", "the server closed the connection before it had the message"
        )

    def _try(self, session: Session, recipient: str, data: bytes) -> Outcome | None:
        """None where the connection was lost before the message had left."""
        try:
            outcome = session.transact(self._sender.address, recipient, data)
        except (OSError, SMTPException) as fault:
            session.close()
            if session.left:
                return Unsure(f"no answer after the message had left: {wire.kind(fault)}")
            if isinstance(fault, TimeoutError):
                return RetryLater("timeout", "the server did not answer in time")
            return None
        except BaseException:
            session.close()  # half-way through a dialogue, it can not be used again
            raise
        if session.closing:
            session.close()
        else:
            self._idle.append(session)
        return outcome


def _signer(environment: Mapping[str, str], sender: Sender) -> dkim.Signer | None:
    """What signs the mail, where the environment gives a key; for the From's domain unless said."""
    given = variables.together(environment, DKIM_KEY, DKIM_SELECTOR)
    domain = variables.text(environment, DKIM_DOMAIN)
    if given is None:
        if domain is not None:
            raise SettingError(DKIM_KEY, f"a value, because of {DKIM_DOMAIN}")
        return None
    selector = given[1]
    for variable, name in ((DKIM_SELECTOR, selector), (DKIM_DOMAIN, domain or sender.domain)):
        if not _DNS_NAME.fullmatch(name):
            raise SettingError(variable, "a DNS name in ASCII")
    file = variables.existing_file(environment, DKIM_KEY)
    assert file is not None
    try:
        return dkim.Signer(domain or sender.domain, selector, Path(file).read_bytes())
    except (ValueError, OSError) as fault:
        expected = (
            f"a PEM file with a private key that is not encrypted: RSA of at least "
            f"{dkim.LEAST_BITS} bits, or Ed25519"
        )
        raise SettingError(DKIM_KEY, expected) from fault


def stuffed(data: bytes) -> bytes:
    """With a second dot on lines that begin with one (RFC 5321, 4.5.2), and the final dot.

    `data` begins with a header and ends with CRLF.
    """
    return data.replace(b"\r\n.", b"\r\n..") + b".\r\n"
