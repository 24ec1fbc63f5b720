"""E-mail through Amazon SES (API v2), and its events by way of SNS.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html

It takes the whole message as bytes, so a mail looks as it does over SMTP, but for its Message-ID
and Date, which SES writes itself. It takes no idempotency key: a message that is sent again after
an attempt in doubt carries the same `X-Notifier-Delivery`, by which its reader can tell.
"""

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from notifier.channels import addresses, crew, http, sigv4, variables
from notifier.channels.api import Api, address_of, busy, content, outcome
from notifier.channels.contract import (
    Call,
    Fact,
    Forged,
    Heard,
    MayStart,
    Message,
    Outcomes,
    Provider,
    Told,
)
from notifier.channels.mime import Composer, Sender
from notifier.channels.sns import Topic
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.status import Status
from notifier.words import Channel

if TYPE_CHECKING:
    import requests

KEY_ID = "NOTIFIER_SES_ACCESS_KEY_ID"
SECRET = "NOTIFIER_SES_SECRET_ACCESS_KEY"
SESSION_TOKEN = "NOTIFIER_SES_SESSION_TOKEN"
REGION = "NOTIFIER_SES_REGION"
FROM = "NOTIFIER_SES_FROM"
CONFIGURATION_SET = "NOTIFIER_SES_CONFIGURATION_SET"
TOPIC = "NOTIFIER_SES_TOPIC_ARN"
CONCURRENCY = "NOTIFIER_SES_CONCURRENCY"
TIMEOUT = "NOTIFIER_SES_TIMEOUT_SECONDS"
API_URL = "NOTIFIER_SES_API_URL"
SNS_URL = "NOTIFIER_SES_SNS_URL"

DELIVERY = "notifier_delivery"
"""The tag that comes back with every event of a configuration set."""

SEND = "/v2/email/outbound-emails"
ACCOUNT = "/v2/email/account"

# https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html#API_SendEmail_Errors
# What is not listed is tried again: an account that is suspended, paused, throttled or over its
# quota, a sender or a configuration set that is not there, credentials that do not fit.
NEVER: frozenset[str] = frozenset(
    {
        "BadRequestException",  # the input is not valid
        "MessageRejected",  # the content is not; or our sender is not verified
    }
)

# https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
EVENT_STATUS: dict[str, Status | None] = {
    "Send": Status.SENT,
    "Delivery": Status.DELIVERED,
    "DeliveryDelay": None,
    "Bounce": Status.FAILED,  # it gave up; `Permanent` ones say that the address is at fault
    "Reject": Status.FAILED,
    "Rendering Failure": Status.FAILED,
    "Open": Status.OPENED,
    "Click": Status.CLICKED,
    "Complaint": Status.COMPLAINED,
    "Subscription": None,
}

DETAILS = {
    "Delivery": "delivery",
    "DeliveryDelay": "deliveryDelay",
    "Bounce": "bounce",
    "Reject": "reject",
    "Rendering Failure": "failure",
    "Open": "open",
    "Click": "click",
    "Complaint": "complaint",
}
"""Where in a record the particulars of an event are."""

_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d+")


class Ses(Provider):
    """One request a message, each signed (Signature Version 4)."""

    name = "ses"
    channels = frozenset({Channel.EMAIL})

    def __init__(
        self,
        credentials: sigv4.Credentials,
        region: str,
        sender: Sender,
        *,
        configuration_set: str | None = None,
        topic: Topic | None = None,
        concurrency: int = 8,
        deadline: timedelta = timedelta(seconds=15),
        base: str,
    ) -> None:
        self.at_once = concurrency
        self.deadline = deadline
        self._credentials = credentials
        self._scope = sigv4.Scope(region, "ses")
        self._sender = sender
        self._set = {"ConfigurationSetName": configuration_set} if configuration_set else {}
        self._topic = topic
        self._api = Api(base, deadline.total_seconds())

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Ses | None":
        given = variables.together(environment, KEY_ID, SECRET, REGION, FROM)
        session_token = variables.text(environment, SESSION_TOKEN)
        configuration_set = variables.text(environment, CONFIGURATION_SET)
        arn = variables.text(environment, TOPIC)
        concurrency = variables.whole(environment, CONCURRENCY, 8, 1, 64)
        seconds = variables.whole(environment, TIMEOUT, 15, 1, 25)
        sns = address_of(environment, SNS_URL, "") if variables.text(environment, SNS_URL) else None
        if given is None:
            return None
        key_id, secret, region, sender = given
        if not _REGION.fullmatch(region):
            raise SettingError(REGION, "an AWS region such as eu-central-1")
        for variable, value in ((KEY_ID, key_id), (SECRET, secret), (SESSION_TOKEN, session_token)):
            if value is not None and not (value.isascii() and value.isprintable()):
                raise SettingError(variable, "ASCII characters only")
        try:
            named = Sender(sender)
        except ValueError as fault:
            raise SettingError(FROM, "an address such as 'Name <name@example.com>'") from fault
        try:
            topic = None if arn is None else Topic(arn, sns)
        except ValueError as fault:
            expected = "the ARN of a topic, such as arn:aws:sns:eu-central-1:123456789012:events"
            raise SettingError(TOPIC, expected) from fault
        return cls(
            sigv4.Credentials(key_id, secret, session_token),
            region,
            named,
            configuration_set=configuration_set,
            topic=topic,
            concurrency=concurrency,
            deadline=timedelta(seconds=seconds),
            base=address_of(environment, API_URL, endpoint(region)),
        )

    @classmethod
    def variables(cls) -> Sequence[str]:
        return (
            *(KEY_ID, SECRET, SESSION_TOKEN, REGION, FROM, CONFIGURATION_SET, TOPIC),
            *(CONCURRENCY, TIMEOUT, API_URL, SNS_URL),
        )

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        composer = Composer(self._sender, datetime.now(UTC))
        return crew.share(
            messages, lambda message: self._send(composer, message), self.at_once, may_start
        )

    def check_address(self, channel: Channel, address: str) -> str | None:
        return addresses.check_address(channel, address)

    def check(self) -> str | None:
        """Whether the account may send; a key that may do nothing but send can not ask."""
        try:
            answer = self._call("GET", ACCOUNT, {}, b"")
        except (http.NotSent, http.Unanswered) as fault:
            return str(fault)
        if answer.status_code == 200:
            paused = content(answer).get("SendingEnabled") is False
            return "sending is paused for the account" if paused else None
        code, reason = _error(answer)
        return None if code == "AccessDeniedException" else f"{code}: {reason}"

    def close(self) -> None:
        self._api.close()

    def _send(self, composer: Composer, message: Message) -> Outcome:
        recipient = addresses.ascii_email(message.address)
        if recipient is None:
            if addresses.check_address(Channel.EMAIL, message.address) is None:
                return Rejected("smtputf8", "the local part is not ASCII, which SES does not take")
            return Rejected("invalid_address", f"not {addresses.EXPECTED_EMAIL}", True)
        ends = self._api.ends()
        composed = composer.compose(message, recipient)
        if isinstance(composed, Rejected):
            return composed
        body = json.dumps(
            {
                "Destination": {"ToAddresses": [recipient]},
                "Content": {"Raw": {"Data": b64encode(composed).decode("ascii")}},
                "EmailTags": [{"Name": DELIVERY, "Value": str(message.delivery_id)}],
                **self._set,
            }
        ).encode("ascii")
        headers = {"Content-Type": "application/json"}
        return outcome(
            lambda: self._call("POST", SEND, headers, body, ends), partial(judge, recipient)
        )

    def _call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        ends: float | None = None,
    ) -> "requests.Response":
        to = http.target(self._api.base + path)
        signed = sigv4.signed(
            *(method, to.host_header, to.path, headers, body),
            *(self._credentials, self._scope, datetime.now(UTC)),
        )
        return self._api.call(method, path, ends=ends, data=body, headers=signed)

    def hear(self, call: Call) -> Heard:
        if self._topic is None:
            raise Forged(f"{TOPIC} is not set, so nothing can be verified")
        published = self._topic.hear(call)
        if published is None:
            return Heard([])
        try:
            record = json.loads(published)
        except (ValueError, RecursionError):
            # SES greets a new topic in plain words.
            return Heard([])
        return Heard(_facts(record))


def judge(recipient: str, answer: "requests.Response") -> Outcome:
    """What the answer to a message means. 200 says that SES will try to deliver it."""
    if answer.status_code == 200:
        told = content(answer).get("MessageId")
        if not isinstance(told, str) or not told:
            return Unsure("the answer does not say what became of it")
        return Accepted(told, "200")
    if (later := busy(answer)) is not None:
        return later
    code, reason = _error(answer)
    if code in NEVER and not _is_sender_unverified(reason, recipient):
        return Rejected(code, reason)
    return RetryLater(code, reason)


def _is_sender_unverified(reason: str, recipient: str) -> bool:
    """Whether what is rejected is our own sender, which is the operator's to mend.

    "Email address is not verified. The following identities failed the check in region
    EU-CENTRAL-1: …" names senders, and for a sandbox account recipients as well
    (https://repost.aws/knowledge-center/ses-554-400-message-rejected-error). One that names the
    recipient alone is about this message.
    """
    if "not verified" not in reason:
        return False
    return reason.rpartition(": ")[2].strip().lower() != recipient.lower()


def _error(answer: "requests.Response") -> tuple[str, str]:
    """The error's name, without what SES appends to it, and its words."""
    given = content(answer)
    named = answer.headers.get("x-amzn-errortype") or str(given.get("__type") or "")
    code = named.partition(":")[0].rpartition("#")[2] or str(answer.status_code)
    return code, str(given.get("message") or given.get("Message") or answer.text)[:300]


def endpoint(region: str) -> str:
    """SES's address in a region."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://email.{region}.{suffix}"


def _facts(record: Any) -> list[Fact]:
    """What one record says; nothing where it is about no message of ours."""
    if not isinstance(record, dict):
        return []
    # Notifications that an identity sends by itself name it otherwise.
    word = record.get("eventType") or record.get("notificationType")
    mail = record.get("mail")
    if not isinstance(word, str) or not isinstance(mail, dict):
        return []
    told = str(mail.get("messageId") or "")
    delivery = None
    with suppress(KeyError, IndexError, TypeError, ValueError):
        delivery = UUID(mail["tags"][DELIVERY][0])
    if not told and delivery is None:
        return []
    found = record.get(DETAILS.get(word, ""))
    given = found if isinstance(found, dict) else {}
    status, code, detail = EVENT_STATUS.get(word), None, None
    match word:
        case "Bounce":
            kind = f"{given.get('bounceType')}/{given.get('bounceSubType')}"
            if given.get("bounceType") == "Permanent":
                status = Status.BOUNCED
            recipients = given.get("bouncedRecipients")
            first = recipients[0] if isinstance(recipients, list) and recipients else {}
            said = first if isinstance(first, dict) else {}
            code, detail = str(said.get("status") or kind), said.get("diagnosticCode") or kind
        case "Complaint":
            detail = given.get("complaintFeedbackType") or given.get("complaintSubType")
            if detail == "not-spam":
                # The recipient took it out of the junk.
                status = None
        case "Reject":
            code, detail = word, given.get("reason")
        case "Rendering Failure":
            code, detail = word, given.get("errorMessage")
        case "DeliveryDelay":
            detail = given.get("delayType")
        case "Delivery":
            detail = given.get("smtpResponse")
    at = None
    with suppress(ValueError):
        at = datetime.fromisoformat(str(given.get("timestamp") or mail.get("timestamp")))
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return [
        Told(
            status,
            told,
            word,
            delivery,
            at=at,
            code=code,
            detail=str(detail)[:300] if detail else None,
        )
    ]
