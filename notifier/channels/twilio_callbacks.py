"""What Twilio's words mean: its error codes, its statuses, and what it calls back with.

https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
https://www.twilio.com/docs/voice/api/call-resource#statuscallback
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from enum import Enum
from uuid import UUID

from notifier.channels import sms
from notifier.channels.contract import Acknowledged, Fact, Heard, Misunderstood, Replied, Told
from notifier.status import Status
from notifier.words import Channel


class Again(Enum):
    """What an error says about another try."""

    LATER = "later"
    NEVER = "never"
    DEAD = "the address is no address of its channel"


# https://www.twilio.com/docs/api/errors: what each code says about another try. One that is not
# listed is tried again.
ERRORS: dict[str, Again] = {
    # The request
    "21201": Again.NEVER,  # no To
    "21205": Again.NEVER,  # invalid call back URL
    "21210": Again.NEVER,  # From is not verified
    "21211": Again.DEAD,  # To is no phone number
    "21212": Again.NEVER,  # From is no phone number
    "21214": Again.NEVER,  # To can not be reached
    "21215": Again.NEVER,  # no permission to call this country
    "21216": Again.NEVER,  # To is blocked
    "21217": Again.DEAD,  # To is no phone number
    "21219": Again.NEVER,  # To is not verified (trial)
    "21265": Again.DEAD,  # To is a short code
    "21266": Again.NEVER,  # To and From are the same
    "21408": Again.NEVER,  # no permission for this country
    "21602": Again.NEVER,  # no text
    "21603": Again.NEVER,  # no From
    "21604": Again.NEVER,  # no To
    "21605": Again.NEVER,  # the text is too long
    "21606": Again.NEVER,  # From can not send this
    "21608": Again.NEVER,  # To is not verified (trial)
    "21609": Again.NEVER,  # invalid call back URL
    "21610": Again.NEVER,  # the recipient wrote STOP
    "21611": Again.LATER,  # From has too many messages waiting
    "21612": Again.NEVER,  # no way from From to To
    "21614": Again.DEAD,  # To is no mobile number
    "21617": Again.NEVER,  # the text is longer than 1600 characters
    "21635": Again.DEAD,  # To is a landline
    "21703": Again.NEVER,  # the Messaging Service has no senders
    # The carrier
    "30001": Again.LATER,  # the queue overflowed
    "30002": Again.LATER,  # the account is suspended
    "30003": Again.LATER,  # the handset is switched off or has no service
    "30004": Again.NEVER,  # the recipient or the carrier blocks us
    "30005": Again.DEAD,  # the number does not exist
    # A landline, or a carrier that this sender's short code can not reach: it does not say which.
    "30006": Again.NEVER,
    "30007": Again.NEVER,  # filtered as unwanted
    "30008": Again.LATER,  # unknown
    "30034": Again.NEVER,  # From is not registered (A2P 10DLC)
    "30410": Again.LATER,  # the carrier took too long
    # The call
    "32018": Again.NEVER,  # the TwiML is longer than 4000 characters
}

# https://www.twilio.com/docs/messaging/api/message-resource#message-status-values
MESSAGE_STATUS: dict[str, Status | None] = {
    "accepted": None,
    "scheduled": None,
    "queued": None,
    "sending": None,
    "sent": Status.SENT,
    "delivered": Status.DELIVERED,
    "read": Status.OPENED,
    "undelivered": Status.FAILED,
    "failed": Status.FAILED,
    "canceled": Status.FAILED,
}

# https://www.twilio.com/docs/voice/api/call-resource#call-status-values
CALL_STATUS: dict[str, Status | None] = {
    "queued": None,
    "initiated": None,
    "ringing": Status.SENT,
    "in-progress": Status.SENT,
    "completed": Status.DELIVERED,
    "busy": Status.FAILED,
    "no-answer": Status.FAILED,
    "failed": Status.FAILED,
    "canceled": Status.FAILED,
}


def read(given: Mapping[str, str], delivery: UUID | None, act: str | None, spoken: str) -> Heard:
    """What the parameters of a call back say, once their signature holds."""
    if act == "keypress" and delivery is not None:
        facts: list[Fact] = [Acknowledged(delivery, "keypress")] if given.get("Digits") else []
        thanks = f"<Response><Say {spoken}>Thank you. It is acknowledged.</Say></Response>"
        return Heard(facts, thanks, "text/xml")
    if "CallStatus" in given and "CallSid" in given:
        return Heard([_call_told(given, delivery)])
    if "MessageStatus" in given and "MessageSid" in given:
        return Heard([_message_told(given, delivery)])
    if given.get("SmsStatus") == "received" and given.get("From"):
        # Advanced Opt-Out knows the words of other languages, too.
        word = given.get("OptOutType") or given.get("Body", "")
        wanted = sms.wanted(word)
        said = word.strip().upper()
        facts = [] if wanted is None else [Replied(Channel.SMS, given["From"], wanted, said)]
        return Heard(facts, "<Response/>", "text/xml")
    raise Misunderstood("neither MessageStatus, CallStatus nor an incoming message")


def _message_told(given: Mapping[str, str], delivery: UUID | None) -> Told:
    word = given["MessageStatus"]
    status = MESSAGE_STATUS.get(word)
    code = given.get("ErrorCode") or None
    if status is Status.FAILED and ERRORS.get(code or "") is Again.DEAD:
        status = Status.BOUNCED
    return Told(
        status,
        given["MessageSid"],
        word,
        delivery,
        code=(code or word) if status in (Status.FAILED, Status.BOUNCED) else None,
        detail=given.get("ErrorMessage") or None,
        segments=_whole(given.get("NumSegments")),
        price=_money(given.get("Price")),
        currency=given.get("PriceUnit") or None,
    )


def call_became(word: str, answered: str) -> tuple[Status | None, str | None]:
    """What a call has come to, and the code of one that failed. answered: by whom, where Twilio
    tells; a machine that answers is nobody."""
    status = CALL_STATUS.get(word)
    if status is Status.DELIVERED and answered.startswith(("machine", "fax")):
        return Status.FAILED, "machine"
    return status, word if status is Status.FAILED else None


def _call_told(given: Mapping[str, str], delivery: UUID | None) -> Told:
    word = given["CallStatus"]
    answered = given.get("AnsweredBy", "")
    status, code = call_became(word, answered)
    return Told(
        status,
        given["CallSid"],
        word,
        delivery,
        code=code,
        detail=f"answered by {answered}" if answered else None,
        price=_money(given.get("Price")),
        currency=given.get("PriceUnit") or None,
    )


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _money(text: str | None) -> Decimal | None:
    try:
        return abs(Decimal(text)) if text else None
    except InvalidOperation:
        return None
