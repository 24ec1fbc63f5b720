"""SMS through Vonage's SMS API.

https://developer.vonage.com/en/api/sms
https://developer.vonage.com/en/messaging/sms/guides/delivery-receipts
https://developer.vonage.com/en/getting-started/concepts/signing-messages

Its receipts carry our delivery id (`client-ref`), but an attempt in doubt can not be asked about:
there is no search by number or reference. It waits for its receipt, or stays unknown.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from notifier.channels import addresses, crew, sms, variables
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
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.status import Status
from notifier.words import Channel

if TYPE_CHECKING:
    import requests

KEY = "NOTIFIER_VONAGE_API_KEY"
SECRET = "NOTIFIER_VONAGE_API_SECRET"
FROM = "NOTIFIER_VONAGE_FROM"
SIGNATURE = "NOTIFIER_VONAGE_SIGNATURE_SECRET"
CONCURRENCY = "NOTIFIER_VONAGE_CONCURRENCY"
TIMEOUT = "NOTIFIER_VONAGE_TIMEOUT_SECONDS"
API_URL = "NOTIFIER_VONAGE_API_URL"

# https://developer.vonage.com/en/api-errors/sms: the `status` of an answer. What is not listed,
# throttling and the account's own troubles among it, is tried again.
NEVER: frozenset[str] = frozenset(
    {
        "2",  # a parameter is missing
        "3",  # a parameter is invalid
        "6",  # a number without a known prefix, or nothing that can be sent
        "7",  # the number is barred
        "12",  # the message is too long
        "15",  # From is not allowed
        "22",  # no network of this number
        "23",  # the call back's URL is not valid
        "29",  # the number is not on the list of a test account
    }
)
DEAD: frozenset[str] = frozenset({"33"})  # the number is no longer in use
THROTTLED = "1"  # more messages a second than the account may send

# https://developer.vonage.com/en/messaging/sms/guides/delivery-receipts: `status` of a receipt
RECEIPT_STATUS: dict[str, Status | None] = {
    "accepted": Status.SENT,
    "buffered": None,
    "delivered": Status.DELIVERED,
    "expired": Status.FAILED,
    "failed": Status.FAILED,
    "rejected": Status.FAILED,
    "undelivered": Status.FAILED,
    "unknown": None,
}

# Its `err-code`, where Vonage says to remove the number. 9, "Illegal Number", is not one: it is how
# Vonage tells that this recipient does not want messages of this sender, which may change again
# (https://developer.vonage.com/en/opt-out-assist/guides/messaging-opted-out-numbers).
RECEIPT_DEAD: frozenset[str] = frozenset(
    {
        "3",  # absent for good
        "4",  # barred, for good
    }
)


class Vonage(Provider):
    """SMS from a number or a sender name."""

    name = "vonage"
    channels = frozenset({Channel.SMS})

    def __init__(
        self,
        key: str,
        secret: str,
        *,
        sender: str,
        signature: str | None,
        calls_back_at: str | None,
        concurrency: int = 8,
        deadline: timedelta = timedelta(seconds=15),
        base: str = "https://rest.nexmo.com",
    ) -> None:
        self.at_once = concurrency
        self.deadline = deadline
        self._given = {"api_key": key, "api_secret": secret, "from": sender}
        if calls_back_at is not None:
            self._given |= {"callback": calls_back_at, "status-report-req": "1"}
        self._key, self._signature = key, signature
        self._api = Api(base, deadline.total_seconds())

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Vonage | None":
        given = variables.together(environment, KEY, SECRET, FROM)
        signature = variables.text(environment, SIGNATURE)
        concurrency = variables.whole(environment, CONCURRENCY, 8, 1, 64)
        seconds = variables.whole(environment, TIMEOUT, 15, 1, 25)
        base = address_of(environment, API_URL, "https://rest.nexmo.com")
        calls_back_at = variables.callback_url(environment, cls.name)
        if given is None:
            return None
        key, secret, sender = given
        return cls(
            key,
            secret,
            sender=sender.removeprefix("+"),
            signature=signature,
            calls_back_at=calls_back_at,
            concurrency=concurrency,
            deadline=timedelta(seconds=seconds),
            base=base,
        )

    @classmethod
    def variables(cls) -> Sequence[str]:
        return (KEY, SECRET, FROM, SIGNATURE, CONCURRENCY, TIMEOUT, API_URL)

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        return crew.share(messages, self._send, self.at_once, may_start)

    def check_address(self, channel: Channel, address: str) -> str | None:
        return addresses.check_address(channel, address)

    def close(self) -> None:
        self._api.close()

    def _send(self, message: Message) -> Outcome:
        text = message.parts.get("text")
        if not text:
            return Rejected("missing_part", "sms needs the part `text`")
        expected = addresses.check_address(Channel.SMS, message.address)
        if expected:
            return Rejected("invalid_address", expected)
        form = {
            **self._given,
            "to": message.address.removeprefix("+"),
            "text": text,
            "type": "text" if sms.is_gsm(text) else "unicode",
            "client-ref": str(message.delivery_id),
        }
        return outcome(lambda: self._api.call("POST", "/sms/json", data=form), judge)

    def hear(self, call: Call) -> Heard:
        if self._signature is None:
            raise Forged(f"{SIGNATURE} is not set, so nothing can be verified")
        given = _parameters(call)
        signature = given.pop("sig", "").lower()
        expected = signature_of(given, self._signature)
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), expected.encode()):
            raise Forged("sig is missing or does not fit")
        return Heard(_facts(given))


def judge(answer: "requests.Response") -> Outcome:
    """What the answer to a message means. A long one is several parts: any of them that went out
    makes it sent.
    """
    if (later := busy(answer)) is not None:
        return later
    parts = content(answer).get("messages")
    if (
        not isinstance(parts, list)
        or not all(isinstance(part, dict) for part in parts)
        or not parts
    ):
        if answer.ok:
            return Unsure("the answer does not say what became of it")
        return RetryLater(str(answer.status_code), answer.text[:300])
    taken = [part for part in parts if str(part.get("status")) == "0"]
    if taken:
        told = str(taken[0].get("message-id", "")) or None
        return Accepted(told, "0", segments=len(taken))
    code, reason = str(parts[0].get("status")), str(parts[0].get("error-text", ""))[:300]
    if code in NEVER or code in DEAD:
        return Rejected(code, reason, address_dead=code in DEAD)
    return RetryLater(code, reason, throttled=code == THROTTLED)


def signature_of(given: Mapping[str, str], secret: str) -> str:
    """HMAC-SHA256 over the sorted parameters, as Vonage makes it; `sig` is not among them."""
    signed = "".join(
        f"&{name}={value.replace('&', '_').replace('=', '_')}"
        for name, value in sorted(given.items())
    )
    return hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest()


def _parameters(call: Call) -> dict[str, str]:
    """From the query, a form or JSON: an account chooses which."""
    if call.method == "GET":
        return dict(parse_qsl(urlsplit(call.url).query, keep_blank_values=True))
    if "json" in call.headers.get("content-type", ""):
        try:
            value = json.loads(call.body)
        except (ValueError, RecursionError):
            raise Forged("the body is no JSON") from None
        if not isinstance(value, dict):
            raise Forged("the body is no JSON object")
        return {str(name): str(each) for name, each in value.items()}
    return dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))


def _facts(given: Mapping[str, str]) -> list[Fact]:
    """What a receipt or a recipient says; nothing where they wrote anything but STOP or START."""
    if "status" in given and "messageId" in given:
        return [_receipt(given)]
    if given.get("msisdn") and "text" in given:
        wanted = sms.wanted(given["text"])
        number = f"+{given['msisdn'].removeprefix('+')}"
        said = given["text"].strip().upper()
        return [] if wanted is None else [Replied(Channel.SMS, number, wanted, said)]
    raise Misunderstood("neither a receipt nor a message")


def _receipt(given: Mapping[str, str]) -> Told:
    word, error = given["status"], given.get("err-code") or None
    status = RECEIPT_STATUS.get(word)
    failed = status is Status.FAILED
    if failed and error in RECEIPT_DEAD:
        status = Status.BOUNCED
    delivery = None
    with suppress(KeyError, ValueError):
        delivery = UUID(given["client-ref"])
    at = None
    with suppress(KeyError, ValueError):
        at = datetime.strptime(given["message-timestamp"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    price = None
    with suppress(KeyError, InvalidOperation):
        price = Decimal(given["price"])
    return Told(
        status,
        given["messageId"],
        word,
        delivery,
        at=at,
        code=(error or word) if failed else None,
        price=price,
        currency="EUR" if price is not None else None,
    )
