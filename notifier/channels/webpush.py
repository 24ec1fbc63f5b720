"""Web Push: encrypted for one browser (RFC 8291), signed by us (VAPID, RFC 8292), over RFC 8030.

A subscription comes from a browser, so its endpoint is as little to be trusted as a webhook's: the
request goes over our own wire and its guard, and follows no redirect. The service worker of the
site reads the JSON that arrives: docs/push.md.
"""

import base64
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from notifier.channels import addresses, crew, egress, http, push, variables
from notifier.channels.api import outcome
from notifier.channels.contract import MayStart, Message, Outcomes, Provider
from notifier.channels.webpush_encryption import LONGEST, encrypt
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.retry import LONGEST_WAIT
from notifier.words import Channel

PRIVATE_KEY = "NOTIFIER_WEBPUSH_PRIVATE_KEY"
SUBJECT = "NOTIFIER_WEBPUSH_SUBJECT"
CONCURRENCY = "NOTIFIER_WEBPUSH_CONCURRENCY"
TIMEOUT = "NOTIFIER_WEBPUSH_TIMEOUT_SECONDS"
ALLOW_NETWORKS = "NOTIFIER_WEBPUSH_ALLOW_NETWORKS"
CA_FILE = "NOTIFIER_WEBPUSH_CA_FILE"

TOKEN_LASTS, TOKEN_KEPT = timedelta(hours=12), timedelta(hours=6)
"""How long a token is good for (RFC 8292, 2: 24 hours at most), and is used."""

_TOKENS = 256
"""Tokens kept, one for each push service; endpoints come from outside, so there may be many."""

_SENT = frozenset({200, 201, 202})

# RFC 8030, 5 and 7.3, RFC 8292, 4.2, and https://mozilla-services.github.io/autopush-rs/errors.html
DEAD = {404: "the subscription is not known", 410: "the subscription is gone"}
NEVER = {
    400: "the push service takes the request for wrong",
    403: "the subscription was made for another key",
    413: "the message is too long for this push service",
}


class WebPush(Provider):
    """To browsers, through whichever push service each of them chose."""

    name = "webpush"
    channels = frozenset({Channel.PUSH})
    shares_fate = False

    def __init__(
        self,
        key: Any,
        subject: str,
        *,
        concurrency: int = 8,
        deadline: timedelta = timedelta(seconds=15),
        allowed: Sequence[egress.Network] = (),
        ca_file: str | None = None,
    ) -> None:
        self.at_once = concurrency
        self.deadline = deadline
        self._key, self._subject = key, subject
        self._public = _public(key)
        self._tokens: dict[str, tuple[str, float]] = {}
        self._client = http.Client(ca_file, allowed)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "WebPush | None":
        given = variables.together(environment, PRIVATE_KEY, SUBJECT)
        concurrency = variables.whole(environment, CONCURRENCY, 8, 1, 64)
        seconds = variables.whole(environment, TIMEOUT, 15, 1, 25)
        ca_file = variables.existing_file(environment, CA_FILE)
        allowed = variables.networks(environment, ALLOW_NETWORKS)
        if given is None:
            return None
        key, subject = given
        # RFC 8292, 2.1; without somebody to turn to some push services refuse.
        if not subject.startswith(("mailto:", "https://")) or " " in subject:
            raise SettingError(SUBJECT, "mailto: and an address, or an https URL")
        try:
            return cls(
                _private_key(key),
                subject,
                concurrency=concurrency,
                deadline=timedelta(seconds=seconds),
                allowed=allowed,
                ca_file=ca_file,
            )
        except OSError as fault:
            raise SettingError(CA_FILE, "a file of PEM certificates") from fault

    @classmethod
    def variables(cls) -> Sequence[str]:
        return (PRIVATE_KEY, SUBJECT, CONCURRENCY, TIMEOUT, ALLOW_NETWORKS, CA_FILE)

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        return crew.share(messages, self._send, self.at_once, may_start)

    def check_address(self, channel: Channel, address: str) -> str | None:
        wrong = addresses.check_address(channel, address)
        if wrong is None and not address.startswith("{"):
            wrong = push.EXPECTED_WEBPUSH
        return wrong

    def close(self) -> None:
        self._client.close()

    def _send(self, message: Message) -> Outcome:
        ends = time.monotonic() + self.deadline.total_seconds()
        said = push.said(self, message, LONGEST, partial(payload, message))
        if isinstance(said, Rejected):
            return said
        subscription = push.subscription(message.address)
        headers = self._headers(message, subscription.to)
        body = encrypt(push.packed(said), subscription.key, subscription.secret)
        return outcome(
            lambda: self._client.request("POST", subscription.to, headers, body, ends),
            lambda answer: judge(answer, datetime.now(UTC)),
        )

    def _headers(self, message: Message, to: http.Target) -> list[tuple[str, str]]:
        """RFC 8030, 5.2 to 5.4: how long it is kept, how soon it is wanted, what it replaces."""
        return [
            ("Authorization", f"vapid t={self._token(to)}, k={self._public}"),
            ("Content-Encoding", "aes128gcm"),
            ("Content-Type", "application/octet-stream"),
            ("TTL", str(push.seconds_left(message, datetime.now(UTC)))),
            ("Urgency", "high" if message.urgent else "normal"),
            ("Topic", push.collapse(message)),
            ("User-Agent", "notifier"),
        ]

    def _token(self, to: http.Target) -> str:
        """What proves who sends, to one push service and no other."""
        audience, now = f"https://{to.host_header}", time.time()
        token, made = self._tokens.get(audience, ("", 0.0))
        if not 0 <= now - made < TOKEN_KEPT.total_seconds():
            import jwt

            claims = {
                "aud": audience,
                "exp": int(now + TOKEN_LASTS.total_seconds()),
                "sub": self._subject,
            }
            token = jwt.encode(claims, self._key, algorithm="ES256")
            if len(self._tokens) >= _TOKENS:
                self._tokens = {}
            self._tokens[audience] = (token, now)
        return token


def payload(message: Message, text: str) -> dict[str, Any]:
    """What the service worker reads. tag: the browser shows one notification for each."""
    title, badge = message.parts.get("title"), push.badge_of(message)
    return {
        **({"title": title} if title else {}),
        "body": text,
        "tag": push.collapse(message),
        **({} if badge is None else {"badge": badge}),
        **push.extras(message),
    }


def judge(answer: http.Answer, now: datetime) -> Outcome:
    """What an answer means. 201 says that the push service took it, not that it was shown."""
    status = answer.status
    if status in _SENT:
        return Accepted(raw=answer.line)
    words = answer.body[:200].decode("utf-8", "replace").strip()
    if status in DEAD:
        return Rejected(str(status), DEAD[status], address_dead=True)
    if status in NEVER:
        return Rejected(str(status), f"{NEVER[status]}: {words}" if words else NEVER[status])
    if 300 <= status < 400:
        return Rejected("redirect", f"{answer.line}: redirects are not followed")
    if status < 200 or (status >= 500 and status != 503):
        return Unsure(answer.line)
    wait = http.retry_after(answer.headers.get("retry-after"), now, LONGEST_WAIT)
    return RetryLater(str(status), f"{answer.line}: {words}" if words else answer.line, after=wait)


def _private_key(text: str) -> Any:
    """A key on P-256 as the tools for VAPID print it: its 32 bytes in base64url."""
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        number = base64.b64decode(text.rstrip("=") + "=", altchars=b"-_", validate=True)
        if len(number) != 32:
            raise ValueError("not 32 bytes")
        return ec.derive_private_key(int.from_bytes(number, "big"), ec.SECP256R1())
    except ValueError as fault:
        raise SettingError(PRIVATE_KEY, "the 32 bytes of a P-256 key in base64url") from fault


def _public(key: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).decode().rstrip("=")
