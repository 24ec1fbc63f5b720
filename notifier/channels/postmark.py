"""E-mail through Postmark's API, and the events it posts.

https://postmarkapp.com/developer/user-guide/send-email-with-api/batch-emails
https://postmarkapp.com/developer/api/overview#error-codes
https://postmarkapp.com/developer/webhooks/webhooks-overview

It takes no idempotency key: a message that is sent again after an attempt in doubt carries the same
`X-Notifier-Delivery`, by which its reader can tell.
"""

import hmac
import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from uuid import UUID

from notifier.channels import addresses, http, variables
from notifier.channels.api import Api, address_of, busy, content
from notifier.channels.contract import (
    Call,
    Fact,
    Forged,
    Heard,
    MayStart,
    Message,
    Misunderstood,
    Outcomes,
    Provider,
    Replied,
    Told,
)
from notifier.channels.mime import Sender
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.status import Status
from notifier.words import Channel

if TYPE_CHECKING:
    import requests

TOKEN = "NOTIFIER_POSTMARK_SERVER_TOKEN"
FROM = "NOTIFIER_POSTMARK_FROM"
STREAM = "NOTIFIER_POSTMARK_MESSAGE_STREAM"
WEBHOOK_SECRET = "NOTIFIER_POSTMARK_WEBHOOK_SECRET"
TIMEOUT = "NOTIFIER_POSTMARK_TIMEOUT_SECONDS"
API_URL = "NOTIFIER_POSTMARK_API_URL"

DELIVERY = "notifier_delivery"
"""The metadata that comes back with every event."""

BATCH = 32
"""Messages of one request. Postmark takes 500, but an answer that never comes leaves all of them in
doubt, and to be sent again."""

FULL = 7_000_000
"""Bytes of attachments with which a request is full: with the last message's, and in base64, they
stay below the 50 MB that Postmark takes in a request."""

# https://postmarkapp.com/developer/api/overview#error-codes: the `ErrorCode` of an answer. What is
# not listed is tried again: a token, sender or message stream that is unknown (10, 400, 401, 1226),
# an account that is pending, out of credit or blocked (405, 412, 413), too many requests (429).
NEVER: frozenset[int] = frozenset(
    {
        300,  # the message is not valid
        402,  # no JSON
        403,  # JSON of another form
        # Inactive in our stream: it bounced hard, complained, unsubscribed or was suppressed by
        # hand, and the answer does not say which. That an address is dead, call backs say.
        406,
    }
)

RECORD_STATUS: dict[str, Status | None] = {
    "Delivery": Status.DELIVERED,
    "Open": Status.OPENED,
    "Click": Status.CLICKED,
    "SpamComplaint": Status.COMPLAINED,
    "Bounce": Status.FAILED,  # as `BOUNCE_STATUS` says otherwise
    "SubscriptionChange": None,
}

# https://postmarkapp.com/developer/api/bounce-api#bounce-types: the `Type` of a bounce. Those that
# are not listed say that it did not arrive, and nothing of the address. `Transient` (delayed, or
# undeliverable) is one of them: a delivery that follows overrules it.
BOUNCE_STATUS: dict[str, Status | None] = {
    "HardBounce": Status.BOUNCED,
    "BadEmailAddress": Status.BOUNCED,
    "SpamComplaint": Status.COMPLAINED,
    "Unsubscribe": None,
    "Subscribe": None,
    "AutoResponder": None,
    "AddressChange": None,
    "OpenRelayTest": None,
    "VirusNotification": None,
    "ChallengeVerification": None,
}

# https://postmarkapp.com/developer/webhooks/subscription-change-webhook: `SuppressionReason`
SUPPRESSED: dict[str, Status] = {
    "HardBounce": Status.BOUNCED,
    "SpamComplaint": Status.COMPLAINED,
}

_TIMES = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")


class Postmark(Provider):
    """A request for a few messages at a time, each with the HTML and the text."""

    name = "postmark"
    channels = frozenset({Channel.EMAIL})
    at_once = BATCH

    def __init__(
        self,
        token: str,
        sender: Sender,
        *,
        stream: str = "outbound",
        webhook_secret: str | None = None,
        deadline: timedelta = timedelta(seconds=15),
        base: str = "https://api.postmarkapp.com",
    ) -> None:
        self.deadline = deadline
        self._headers = {"X-Postmark-Server-Token": token, "Accept": "application/json"}
        self._given = {"From": _named(sender), "MessageStream": stream}
        self._stream = stream
        self._expected = webhook_secret and f"Basic {b64encode(webhook_secret.encode()).decode()}"
        self._api = Api(base, deadline.total_seconds())

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Postmark | None":
        given = variables.together(environment, TOKEN, FROM)
        stream = variables.text(environment, STREAM) or "outbound"
        secret = variables.text(environment, WEBHOOK_SECRET)
        seconds = variables.whole(environment, TIMEOUT, 15, 1, 25)
        base = address_of(environment, API_URL, "https://api.postmarkapp.com")
        if given is None:
            return None
        token, sender = given
        if not (token.isascii() and token.isprintable()):
            raise SettingError(TOKEN, "a token as Postmark shows it")
        if secret is not None and not all(secret.partition(":")):
            raise SettingError(WEBHOOK_SECRET, "a user name and a password, as 'user:password'")
        try:
            named = Sender(sender)
        except ValueError as fault:
            raise SettingError(FROM, "an address such as 'Name <name@example.com>'") from fault
        return cls(
            token,
            named,
            stream=stream,
            webhook_secret=secret,
            deadline=timedelta(seconds=seconds),
            base=base,
        )

    @classmethod
    def variables(cls) -> Sequence[str]:
        return (TOKEN, FROM, STREAM, WEBHOOK_SECRET, TIMEOUT, API_URL)

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        for batch in _batches(takewhile(lambda _: may_start(), messages)):
            ends = self._api.ends()
            refused: list[tuple[Message, Outcome]] = []
            bodies: list[tuple[Message, dict[str, Any]]] = []
            for message in batch:
                body = self._body(message)
                if isinstance(body, Rejected):
                    refused.append((message, body))
                else:
                    bodies.append((message, body))
            if bodies:
                answers = self._send([body for _, body in bodies], ends)
                yield from zip((message for message, _ in bodies), answers, strict=True)
            # After the others, which may start now: whoever reads may take long over an outcome.
            yield from refused

    def check_address(self, channel: Channel, address: str) -> str | None:
        return addresses.check_address(channel, address)

    def check(self) -> str | None:
        """Whether the token is one of a server's."""
        try:
            answer = self._api.call("GET", "/server", headers=self._headers)
        except (http.NotSent, http.Unanswered) as fault:
            return str(fault)
        return None if answer.status_code == 200 else _refusal(answer).reason

    def close(self) -> None:
        self._api.close()

    def _body(self, message: Message) -> dict[str, Any] | Rejected:
        subject, text = message.parts.get("subject"), message.parts.get("text")
        if subject is None or text is None:
            return Rejected("missing_part", "an e-mail needs the parts `subject` and `text`")
        # Its error 300 shows what it takes for an address: letters, digits and hyphens for a domain
        # (https://postmarkapp.com/support/article/1180-what-does-errorcode-300-mean).
        recipient = addresses.ascii_email(message.address)
        if recipient is None:
            if addresses.check_address(Channel.EMAIL, message.address) is None:
                return Rejected(
                    "smtputf8", "the local part is not ASCII: Postmark does not take it"
                )
            return Rejected("invalid_address", f"not {addresses.EXPECTED_EMAIL}", True)
        headers = {"X-Notifier-Delivery": str(message.delivery_id)}
        if message.unsubscribe_url is not None:
            headers["List-Unsubscribe"] = f"<{message.unsubscribe_url}>"
            headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        html = message.parts.get("html")
        return {
            **self._given,
            "To": recipient,
            "Subject": subject,
            # It refuses an empty body.
            "TextBody": text or " ",
            **({"HtmlBody": html} if html else {}),
            "Headers": [{"Name": name, "Value": value} for name, value in headers.items()],
            **({"Attachments": _files(message)} if message.attachments else {}),
            "Metadata": {DELIVERY: str(message.delivery_id)},
        }

    def _send(self, bodies: Sequence[Mapping[str, Any]], ends: float) -> Sequence[Outcome]:
        """What came of each, in their order."""
        try:
            answer = self._api.call(
                "POST", "/email/batch", ends=ends, json=bodies, headers=self._headers
            )
        except http.NotSent as fault:
            return [RetryLater(fault.code, fault.reason)] * len(bodies)
        except http.Unanswered as fault:
            return [Unsure(str(fault))] * len(bodies)
        return judge(answer, len(bodies))

    def hear(self, call: Call) -> Heard:
        """Postmark signs nothing: it logs in, with what stands in the address it was given."""
        if self._expected is None:
            raise Forged(f"{WEBHOOK_SECRET} is not set, so nothing can be verified")
        told = call.headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(told, self._expected.encode()):
            raise Forged("the user name or the password is missing or wrong")
        try:
            record = json.loads(call.body)
        except (ValueError, RecursionError) as fault:
            raise Misunderstood("the body is no JSON") from fault
        if not isinstance(record, dict) or not isinstance(record.get("RecordType"), str):
            raise Misunderstood("the body is no record of an event")
        return Heard(_facts(record, record["RecordType"], self._stream))


def _batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """As many messages as fit into one request, as long as there are more."""
    batch: list[Message] = []
    size = 0
    for message in messages:
        batch.append(message)
        size += message.weight
        # Not one message later: it may start now, and not when these are through.
        if len(batch) == BATCH or size >= FULL:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _files(message: Message) -> list[dict[str, str]]:
    return [
        {
            "Name": file.name,
            "Content": b64encode(file.content).decode(),
            "ContentType": file.media_type,
        }
        for file in message.attachments
    ]


def judge(answer: "requests.Response", count: int) -> Sequence[Outcome]:
    """What the answer to `count` messages means for each. 200 has a word for every one of them."""
    if (later := busy(answer)) is not None:
        return [later] * count
    if answer.status_code != 200:
        # What is said of the whole request is no fault of any one message.
        return [_refusal(answer)] * count
    try:
        each = json.loads(answer.content)
    except (ValueError, RecursionError):
        each = None
    if not isinstance(each, list) or len(each) != count:
        return [Unsure("the answer does not say what became of it")] * count
    return [_outcome(one) for one in each]


def _outcome(said: Any) -> Outcome:
    if not isinstance(said, dict) or not isinstance(said.get("ErrorCode"), int):
        return Unsure("the answer does not say what became of it")
    code, reason = said["ErrorCode"], str(said.get("Message", ""))[:300]
    if code == 0:
        return Accepted(str(said.get("MessageID") or "") or None, "0")
    if code in NEVER:
        return Rejected(str(code), reason)
    return RetryLater(str(code), reason)


def _refusal(answer: "requests.Response") -> RetryLater:
    given = content(answer)
    code = given.get("ErrorCode", answer.status_code)
    return RetryLater(str(code), str(given.get("Message") or answer.text)[:300])


def _named(sender: Sender) -> str:
    """The sender in JSON, where a name is not encoded, but is quoted."""
    if not sender.name:
        return sender.address
    name = sender.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{name}" <{sender.address}>'


def _facts(record: Mapping[str, Any], word: str, stream: str) -> list[Fact]:
    """What one record says; nothing where it is about no message of ours. stream: the one we send
    by."""
    status = RECORD_STATUS.get(word)
    given = record.get("Type") or record.get("SuppressionReason")
    kind = given if isinstance(given, str) else ""
    address = record.get("Email") or record.get("Recipient")
    if word == "Bounce":
        status = BOUNCE_STATUS.get(kind, Status.FAILED)
    if word == "SubscriptionChange" and record.get("SuppressSending") is True:
        status = SUPPRESSED.get(kind)
    wanted = _wish(record, word, kind)
    if wanted is not None and isinstance(address, str):
        if (record.get("MessageStream") or stream) != stream:
            # Suppressions are a stream's own: who leaves another one says nothing about ours.
            return []
        return [Replied(Channel.EMAIL, address, wanted, kind or word)]
    told = str(record.get("MessageID") or "")
    delivery = None
    with suppress(KeyError, TypeError, ValueError):
        delivery = UUID(record["Metadata"][DELIVERY])
    if not told and delivery is None:
        return []
    at = None
    with suppress(StopIteration, ValueError, TypeError):
        at = datetime.fromisoformat(next(record[name] for name in _TIMES if name in record))
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
    failed = status in (Status.FAILED, Status.BOUNCED)
    reason = record.get("Details") or record.get("Description")
    return [
        Told(
            status,
            told,
            f"{word}/{kind}" if kind else word,
            delivery,
            at=at,
            code=kind or word if failed else None,
            detail=str(reason)[:300] if reason else None,
        )
    ]


def _wish(record: Mapping[str, Any], word: str, kind: str) -> bool | None:
    """Whether the recipient says that they want more mail, or none; None: they say neither."""
    if word == "Bounce" and kind == "Unsubscribe":
        return False
    if word == "SubscriptionChange" and record.get("Origin") == "Recipient":
        if record.get("SuppressSending") is False:
            return True
        if kind == "ManualSuppression":
            return False
    return None
