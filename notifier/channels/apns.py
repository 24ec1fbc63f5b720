"""Push to Apple's devices: APNs over HTTP/2, with a token for authentication.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns

`apns-id` is the delivery's id, and where nothing else is to be replaced `apns-collapse-id` as well:
a message that is sent again after an attempt in doubt shows once.
"""

import json
import ssl
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from notifier.channels import addresses, http, http2, push, variables
from notifier.channels.api import EVERYWHERE, address_of
from notifier.channels.contract import MayStart, Message, Outcomes, Provider
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.words import Channel

KEY_FILE = "NOTIFIER_APNS_KEY_FILE"
KEY_ID = "NOTIFIER_APNS_KEY_ID"
TEAM_ID = "NOTIFIER_APNS_TEAM_ID"
TOPIC = "NOTIFIER_APNS_TOPIC"
CONCURRENCY = "NOTIFIER_APNS_CONCURRENCY"
TIMEOUT = "NOTIFIER_APNS_TIMEOUT_SECONDS"
API_URL = "NOTIFIER_APNS_API_URL"
CA_FILE = "NOTIFIER_APNS_CA_FILE"

LONGEST = 4096
"""Bytes of the payload at most (Generating a remote notification)."""

TOKEN_STANDS = 2400
"""Seconds a token is used: Apple wants a new one every 20 to 60 minutes. They are counted from the
clock, not from the start of a process, so all workers say the same and change it together."""

# "Response error strings". What is not listed is tried again; what is wrong with the key, the token
# made of it or the topic is the operator's to mend, and no fault of the message.
DEAD: frozenset[str] = frozenset(
    {
        "ExpiredToken",
        "Unregistered",
    }
)
NEVER: frozenset[str] = frozenset(
    {
        "BadCollapseId",
        # Or one of the other environment: a wrong API_URL would retire them all.
        "BadDeviceToken",
        "BadExpirationDate",
        "BadMessageId",
        "BadPath",
        "BadPriority",
        "DeviceTokenNotForTopic",  # another app's: as likely our setting as the app's mistake
        "DuplicateHeaders",
        "InvalidPushType",
        "MethodNotAllowed",
        "MissingDeviceToken",
        "PayloadEmpty",
        "PayloadTooLarge",
    }
)
WAITS: dict[str, timedelta] = {
    "ServiceUnavailable": timedelta(minutes=15),
    "TooManyProviderTokenUpdates": timedelta(minutes=20),
}


class APNs(Provider):
    """For one app, its topic, over one connection on which many requests are under way."""

    name = "apns"
    channels = frozenset({Channel.PUSH})

    def __init__(
        self,
        key: Any,
        key_id: str,
        team: str,
        topic: str,
        tls: ssl.SSLContext,
        *,
        concurrency: int = 32,
        deadline: timedelta = timedelta(seconds=15),
        base: str = "https://api.push.apple.com",
    ) -> None:
        self.at_once = concurrency
        self.deadline = deadline
        self._key, self._key_id, self._team, self._topic = key, key_id, team, topic
        self._token = ("", -1)
        self._to, self._tls = http.target(base), tls
        self._connection: http2.Connection | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "APNs | None":
        given = variables.together(environment, KEY_FILE, KEY_ID, TEAM_ID, TOPIC)
        variables.existing_file(environment, KEY_FILE)
        concurrency = variables.whole(environment, CONCURRENCY, 32, 1, 500)
        seconds = variables.whole(environment, TIMEOUT, 15, 1, 25)
        base = address_of(environment, API_URL, "https://api.push.apple.com")
        ca_file = variables.existing_file(environment, CA_FILE)
        if given is None:
            return None
        path, key_id, team, topic = given
        for variable, value in ((KEY_ID, key_id), (TEAM_ID, team)):
            if not (len(value) == 10 and value.isascii() and value.isalnum()):
                raise SettingError(variable, "the id of 10 letters and digits that Apple shows")
        try:
            tls = http2.tls_context(ca_file)
        except OSError as fault:
            raise SettingError(CA_FILE, "a file of PEM certificates") from fault
        return cls(
            _private_key(path),
            key_id,
            team,
            topic,
            tls,
            concurrency=concurrency,
            deadline=timedelta(seconds=seconds),
            base=base,
        )

    @classmethod
    def variables(cls) -> Sequence[str]:
        return (KEY_FILE, KEY_ID, TEAM_ID, TOPIC, CONCURRENCY, TIMEOUT, API_URL, CA_FILE)

    def check_address(self, channel: Channel, address: str) -> str | None:
        wrong = addresses.check_address(channel, address)
        if wrong is None and push.apns_token(address) is None:
            wrong = push.EXPECTED_APNS
        return wrong

    def check(self) -> str | None:
        """Whether Apple's server can be spoken to; it looks at keys only with a message."""
        try:
            self._connected(time.monotonic() + self.deadline.total_seconds())
        except http.NotSent as fault:
            return fault.reason
        return None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        """One thread is enough: what is under way waits on the connection, not in a thread."""
        under_way: dict[int, Message] = {}
        unreachable: Outcome | None = None
        try:
            for message in messages:
                while under_way and not self._takes_another(len(under_way)):
                    yield from self._answered(under_way)
                if not may_start():
                    break
                outcome = unreachable
                if outcome is None:
                    try:
                        outcome = self._begin(message, under_way)
                    except http.NotSent as fault:
                        outcome = RetryLater(fault.code, fault.reason)
                        if self._connection is None:
                            # Whoever can not be reached for one is not tried for each of the rest.
                            unreachable = outcome
                if outcome is not None:
                    yield message, outcome
            while under_way:
                yield from self._answered(under_way)
        finally:
            while under_way:
                self._answered(under_way)

    def _takes_another(self, count: int) -> bool:
        connection = self._connection
        return count < self.at_once and connection is not None and connection.has_room(LONGEST)

    def _begin(self, message: Message, under_way: dict[int, Message]) -> Outcome | None:
        """Send a message; its outcome, where that is known at once. Raises `http.NotSent`."""
        ends = time.monotonic() + self.deadline.total_seconds()
        said = push.said(self, message, LONGEST, partial(payload, message))
        if isinstance(said, Rejected):
            return said
        connection = self._connection
        if connection is None or not under_way:
            connection = self._connected(ends)
        while not connection.has_room(LONGEST):
            if not connection.usable or time.monotonic() >= ends:
                raise http.NotSent("busy", "the server takes no more requests")
            connection.wait(ends)
        number = connection.begin(self._headers(message), push.packed(said), ends)
        under_way[number] = message
        return None

    def _answered(self, under_way: dict[int, Message]) -> list[tuple[Message, Outcome]]:
        """Wait for answers, and take what has come off what is under way."""
        assert self._connection is not None
        results = self._connection.read()
        return [(under_way.pop(number), judge(result)) for number, result in results]

    def _connected(self, ends: float) -> http2.Connection:
        """The connection there is, if it still lives, else a new one."""
        if self._connection is not None and not self._connection.is_alive(ends):
            self.close()
        if self._connection is None:
            self._connection = http2.Connection(self._to, self._tls, EVERYWHERE, ends)
        return self._connection

    def _headers(self, message: Message) -> list[tuple[str, str]]:
        headers = [
            (":path", f"{self._to.path.rstrip('/')}/3/device/{push.apns_token(message.address)}"),
            ("authorization", f"bearer {self._bearer(int(time.time()))}"),
            ("apns-id", str(message.delivery_id)),
            ("apns-push-type", "alert"),
            ("apns-topic", self._topic),
            # At 5 Apple holds back what is to be seen, and loses some of it.
            ("apns-priority", "10"),
            ("apns-collapse-id", push.collapse(message)),
        ]
        now = datetime.now(UTC)
        expires = int(now.timestamp()) + push.seconds_left(message, now)
        return [*headers, ("apns-expiration", str(expires))]

    def _bearer(self, now: int) -> str:
        """What proves who we are."""
        since = now - now % TOKEN_STANDS
        if self._token[1] != since:
            import jwt

            claims = {"iss": self._team, "iat": since}
            headers = {"kid": self._key_id}
            made = jwt.encode(claims, self._key, algorithm="ES256", headers=headers)
            self._token = (made, since)
        return self._token[0]


def payload(message: Message, text: str) -> dict[str, Any]:
    """What is shown, and beside it what the app needs."""
    title = message.parts.get("title")
    alert = {**({"title": title} if title else {}), "body": text}
    badge = push.badge_of(message)
    aps = {
        "alert": alert,
        "sound": "default",
        # 0 removes it, and without one it stays as it is.
        **({} if badge is None else {"badge": badge}),
        # For apps that Apple lets break through a Focus; others show it as any message.
        **({"interruption-level": "time-sensitive"} if message.urgent else {}),
    }
    return {"aps": aps, **push.extras(message)}


def judge(result: http2.Result) -> Outcome:
    """What came of a request, by the `reason` of Apple's table."""
    if isinstance(result, http.NotSent):
        return RetryLater(result.code, result.reason)
    if isinstance(result, http.Unanswered):
        return Unsure(str(result))
    if result.status == 200:
        return Accepted(result.headers.get("apns-id"), result.line)
    try:
        said = json.loads(result.body)
    except (ValueError, RecursionError):
        said = None
    reason = said.get("reason") if isinstance(said, dict) else None
    code = str(reason or result.status)
    if code in DEAD or result.status == 410:
        return Rejected(code, result.line, address_dead=True)
    if code in NEVER:
        return Rejected(code, result.line)
    if result.status >= 500 and result.status != 503:
        return Unsure(f"{result.line} {code}")
    throttled = result.status == 429
    return RetryLater(code, result.line, after=WAITS.get(code), throttled=throttled)


def _private_key(path: str) -> Any:
    """The key as Apple gives it: PEM, on P-256."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(Path(path).read_bytes(), None)
    except (OSError, ValueError, TypeError) as fault:
        raise SettingError(KEY_FILE, "the .p8 file of an APNs key") from fault
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SettingError(KEY_FILE, "the .p8 file of an APNs key")
    return key
