"""E-mail through SendGrid's v3 API, and its signed events.

https://www.twilio.com/docs/sendgrid/api-reference/mail-send
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features

It takes no idempotency key: a message that is sent again after an attempt in doubt carries the same
`X-Notifier-Delivery`, by which its reader can tell.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from notifier.channels import addresses, crew, variables
from notifier.channels.api import Api, address_of, busy, content, outcome
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
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater
from notifier.status import Status
from notifier.words import Channel

if TYPE_CHECKING:
    import requests

KEY = "NOTIFIER_SENDGRID_API_KEY"
FROM = "NOTIFIER_SENDGRID_FROM"
VERIFICATION_KEY = "NOTIFIER_SENDGRID_VERIFICATION_KEY"
CONCURRENCY = "NOTIFIER_SENDGRID_CONCURRENCY"
TIMEOUT = "NOTIFIER_SENDGRID_TIMEOUT_SECONDS"
API_URL = "NOTIFIER_SENDGRID_API_URL"

DELIVERY = "notifier_delivery"
"""The custom argument that comes back with every event."""

EVENT_STATUS: dict[str, Status | None] = {
    "processed": None,
    "deferred": None,
    "delivered": Status.DELIVERED,
    "bounce": Status.BOUNCED,
    "dropped": Status.FAILED,
    "open": Status.OPENED,
    "click": Status.CLICKED,
    "spamreport": Status.COMPLAINED,
}

# The `reason` of `dropped`: what it never tried to send. Others (Unsubscribed Address, Spam
# Content, Recipient List over Package Quota) say nothing of the address.
DROPPED: dict[str, Status] = {
    "Bounced Address": Status.BOUNCED,
    "Invalid": Status.BOUNCED,
    "Spam Reporting Address": Status.COMPLAINED,
}

UNWANTED = "unsubscribe"
"""Of everything the account sends, whichever mail it was clicked in: ours would be dropped as well.
There is no event that takes it back."""

ELSEWHERE = frozenset({"group_unsubscribe", "group_resubscribe"})
"""About one unsubscribe group of the account, and no mail of ours is in any."""


class SendGrid(Provider):
    """One request a message, with the HTML and the text."""

    name = "sendgrid"
    channels = frozenset({Channel.EMAIL})

    def __init__(
        self,
        key: str,
        sender: Sender,
        *,
        verification_key: Any = None,
        concurrency: int = 8,
        deadline: timedelta = timedelta(seconds=15),
        base: str = "https://api.sendgrid.com",
    ) -> None:
        self.at_once = concurrency
        self.deadline = deadline
        self._authorization = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        self._from = {"email": sender.address, **({"name": sender.name} if sender.name else {})}
        self._verification_key = verification_key
        self._api = Api(base, deadline.total_seconds())

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "SendGrid | None":
        given = variables.together(environment, KEY, FROM)
        verification = variables.text(environment, VERIFICATION_KEY)
        concurrency = variables.whole(environment, CONCURRENCY, 8, 1, 64)
        seconds = variables.whole(environment, TIMEOUT, 15, 1, 25)
        base = address_of(environment, API_URL, "https://api.sendgrid.com")
        if given is None:
            return None
        key, sender = given
        try:
            named = Sender(sender)
        except ValueError as fault:
            raise SettingError(FROM, "an address such as 'Name <name@example.com>'") from fault
        return cls(
            key,
            named,
            verification_key=None if verification is None else _public_key(verification),
            concurrency=concurrency,
            deadline=timedelta(seconds=seconds),
            base=base,
        )

    @classmethod
    def variables(cls) -> Sequence[str]:
        return (KEY, FROM, VERIFICATION_KEY, CONCURRENCY, TIMEOUT, API_URL)

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        return crew.share(messages, self._send, self.at_once, may_start)

    def check_address(self, channel: Channel, address: str) -> str | None:
        return addresses.check_address(channel, address)

    def close(self) -> None:
        self._api.close()

    def _send(self, message: Message) -> Outcome:
        subject, text = message.parts.get("subject"), message.parts.get("text")
        if subject is None or text is None:
            return Rejected("missing_part", "an e-mail needs the parts `subject` and `text`")
        if addresses.check_address(Channel.EMAIL, message.address) is not None:
            return Rejected("invalid_address", f"not {addresses.EXPECTED_EMAIL}", True)
        ends = self._api.ends()
        body = self._body(message, subject, text)
        return outcome(
            lambda: self._api.call(
                "POST", "/v3/mail/send", ends=ends, json=body, headers=self._authorization
            ),
            judge,
        )

    def _body(self, message: Message, subject: str, text: str) -> dict[str, Any]:
        headers = {"X-Notifier-Delivery": str(message.delivery_id)}
        if message.unsubscribe_url is not None:
            headers["List-Unsubscribe"] = f"<{message.unsubscribe_url}>"
            headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        # It refuses an empty text.
        parts = [{"type": "text/plain", "value": text or " "}]
        if html := message.parts.get("html"):
            parts.append({"type": "text/html", "value": html})
        return {
            "personalizations": [
                {
                    "to": [{"email": message.address}],
                    "custom_args": {DELIVERY: str(message.delivery_id)},
                }
            ],
            "from": self._from,
            "subject": subject or " ",
            "content": parts,
            "headers": headers,
            **({"attachments": _files(message)} if message.attachments else {}),
        }

    def hear(self, call: Call) -> Heard:
        if self._verification_key is None:
            raise Forged(f"{VERIFICATION_KEY} is not set, so nothing can be verified")
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        prefix = "x-twilio-email-event-webhook-"
        try:
            signature = base64.b64decode(call.headers[f"{prefix}signature"], validate=True)
            signed = call.headers[f"{prefix}timestamp"].encode() + call.body
            self._verification_key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        except (KeyError, binascii.Error, ValueError, InvalidSignature) as fault:
            raise Forged("the signature is missing or does not fit") from fault
        try:
            events = json.loads(call.body)
        except (ValueError, RecursionError) as fault:
            raise Misunderstood("the body is no JSON") from fault
        if not isinstance(events, list):
            raise Misunderstood("the body is no list of events")
        return Heard([fact for event in events for fact in _facts(event)])


def _files(message: Message) -> list[dict[str, str]]:
    return [
        {
            "content": base64.b64encode(file.content).decode(),
            "type": file.media_type,
            "filename": file.name,
            "disposition": "attachment",
        }
        for file in message.attachments
    ]


def judge(answer: "requests.Response") -> Outcome:
    """What the answer to a message means. 202 says that it is queued."""
    if (later := busy(answer)) is not None:
        return later
    if answer.ok:
        return Accepted(answer.headers.get("x-message-id"), str(answer.status_code))
    code = str(answer.status_code)
    errors = content(answer).get("errors")
    first = errors[0] if isinstance(errors, list) and errors else {}
    given = first if isinstance(first, dict) else {}
    field, words = str(given.get("field") or ""), str(given.get("message") or answer.text)
    reason = f"{field}: {words}"[:300] if field else words[:300]
    if answer.status_code in (400, 413):
        # https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors
        return Rejected(code, reason, address_dead=field.startswith("personalizations.0.to"))
    # 401 and 403 are about the account, and whatever else there may be is new to us.
    return RetryLater(code, reason)


def _public_key(text: str) -> Any:
    """The verification key as SendGrid shows it: base64 of a DER key on P-256."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error) as fault:
        raise SettingError(VERIFICATION_KEY, "the key as SendGrid shows it") from fault
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise SettingError(VERIFICATION_KEY, "the key as SendGrid shows it")
    return key


def _facts(event: Any) -> list[Fact]:
    """What one event says; nothing where it is about no message of ours."""
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return []
    word, address = event["event"], event.get("email")
    if word in ELSEWHERE:
        return []
    if word == UNWANTED and isinstance(address, str):
        return [Replied(Channel.EMAIL, address, False, word)]
    # The id it answers a message with is the first part of the one in its events.
    told = str(event.get("sg_message_id", "")).partition(".")[0]
    delivery = None
    with suppress(KeyError, ValueError):
        delivery = UUID(str(event[DELIVERY]))
    if not told and delivery is None:
        return []
    status = EVENT_STATUS.get(word)
    if word == "bounce" and event.get("type") == "blocked":
        # Turned away this time: the address lives.
        status = Status.FAILED
    if word == "dropped":
        status = DROPPED.get(str(event.get("reason")), Status.FAILED)
    if word == "open" and event.get("sg_machine_open") is True:
        status = None
    at = None
    with suppress(KeyError, ValueError, TypeError, OverflowError, OSError):
        at = datetime.fromtimestamp(float(event["timestamp"]), UTC)
    failed = status in (Status.FAILED, Status.BOUNCED)
    reason = event.get("reason") or event.get("response")
    return [
        Told(
            status,
            told,
            word,
            delivery,
            at=at,
            code=str(event.get("status") or word) if failed else None,
            detail=str(reason)[:300] if reason else None,
        )
    ]
