"""The sandbox: every channel without credentials, kept to be looked at, failing on request.

A word in the address scripts what comes of the message:

    +bounce    rejected, and the address is dead
    +fail      rejected, the address lives
    +timeout   unsure whether it arrived
    +429       retry later, in 30 seconds
    +5xx       retry later
    +flaky     retry later at the first two attempts, then accepted
    +late         accepted, and reported as delivered 3 seconds later
    +late-bounce  accepted, and reported 3 seconds later as bounced: the address is dead

In an e-mail address the word is the tag (`ada+bounce@example.com`); elsewhere it may stand
anywhere (`https://example.com/hook+bounce`). A phone number has no room for words, so SMS
and voice know numbers instead: those on which Twilio's test credentials fail, with Twilio's
codes (https://www.twilio.com/docs/iam/test-credentials, "Test SMS messages", "Test calls"),
and for the words Twilio has no number for, more of the same reserved block:

    +15005550001 invalid    ...0002 no route   ...0003 no permission for the country
    +15005550004 blocked (STOP)                ...0009 can not receive SMS
    +15005550408 timeout    ...0429 429        ...0500 5xx        ...0503 flaky
    +15005550200 late       ...0550 late-bounce
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from notifier.channels import addresses
from notifier.channels.calls import Calls, variables_of
from notifier.channels.contract import MayStart, Message, Outcomes, Provider, Question, Told
from notifier.outcome import Accepted, NotFound, Outcome, Rejected, RetryLater, Unsure
from notifier.status import Status
from notifier.words import Channel

_WORD = re.compile(
    r"\+(bounce|fail|timeout|429|5xx|flaky|late-bounce|late)(?![a-z0-9])", re.IGNORECASE
)

_NUMBER_WORDS = {
    "+15005550408": "timeout",
    "+15005550429": "429",
    "+15005550500": "5xx",
    "+15005550503": "flaky",
    "+15005550200": "late",
    "+15005550550": "late-bounce",
}

_REJECTS: Mapping[Channel, Mapping[str, Rejected]] = {
    Channel.SMS: {
        "+15005550001": Rejected("21211", "the number is invalid", address_dead=True),
        "+15005550002": Rejected("21612", "no route to this number"),
        "+15005550003": Rejected("21408", "no permission for this country"),
        "+15005550004": Rejected("21610", "the number is blocked (STOP)"),
        "+15005550009": Rejected("21614", "the number can not receive SMS", address_dead=True),
    },
    Channel.VOICE: {
        "+15005550001": Rejected("21217", "the number is invalid", address_dead=True),
        "+15005550002": Rejected("21214", "no route to this number"),
        "+15005550003": Rejected("21215", "no permission for this country"),
        "+15005550004": Rejected("21216", "the number is blocked"),
    },
}
"""By channel whose addresses are numbers."""

FLAKY_UNTIL = 3
"""The attempt at which `+flaky` succeeds."""

LATE = timedelta(seconds=3)
"""Between accepting a message and telling what became of it."""


class Sandbox(Provider):
    """Every channel; what it accepts, the store keeps with the outcome."""

    name = "sandbox"
    channels = frozenset(Channel)
    keeps = "sandbox_messages"
    stand_in = True

    def __init__(self, calls: Calls | None = None) -> None:
        self._calls = calls or Calls()
        self.deadline = self._calls.deadline

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Sandbox":
        return cls(Calls.from_environment(environment, cls.name))

    @classmethod
    def variables(cls) -> Sequence[str]:
        return variables_of(cls.name)

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        for message in messages:
            if not may_start():
                return
            self._calls.note(message)
            yield message, script(message)

    def reports(self, message: Message) -> Mapping[timedelta, Told]:
        known_as = _known_as(message)
        match _word(message):
            case "late":
                return {LATE: Told(Status.DELIVERED, known_as, "delivered", message.delivery_id)}
            case "late-bounce":
                gone = "5.1.1 no such address (sandbox)"
                told = Told(Status.BOUNCED, known_as, "bounced", message.delivery_id)
                return {LATE: replace(told, code="550", detail=gone)}
        return {}

    def check_address(self, channel: Channel, address: str) -> str | None:
        return addresses.check_address(channel, address)

    def look_up(self, questions: Sequence[Question]) -> Iterator[tuple[Question, NotFound]]:
        """A message is kept in the transaction of its outcome: without one, it is not here."""
        for question in questions:
            yield question, NotFound()

    def close(self) -> None:
        self._calls.close()


def script(message: Message) -> Outcome:
    """What the address asks for; accepted where it asks for nothing."""
    rejected = _REJECTS.get(message.channel, {}).get(message.address)
    if rejected is not None:
        return rejected
    match _word(message):
        case "bounce":
            return Rejected("550", "5.1.1 no such address (sandbox)", address_dead=True)
        case "fail":
            return Rejected("554", "refused (sandbox)")
        case "timeout":
            return Unsure("no answer after the message had left (sandbox)")
        case "429":
            return RetryLater(
                "429", "too many requests (sandbox)", after=timedelta(seconds=30), throttled=True
            )
        case "5xx":
            return RetryLater("503", "service unavailable (sandbox)")
        case "flaky" if message.attempt < FLAKY_UNTIL:
            return RetryLater("503", f"attempt {message.attempt} fails (sandbox)")
    return Accepted(provider_message_id=_known_as(message), raw="sandbox")


def _word(message: Message) -> str | None:
    """What the address asks for."""
    if message.channel in _REJECTS:
        return _NUMBER_WORDS.get(message.address)
    if "+" not in message.address:
        return None
    searched = message.address
    if message.channel is Channel.EMAIL:
        searched = searched.rpartition("@")[0]
    found = _WORD.search(searched)
    return found.group(1).lower() if found else None


def _known_as(message: Message) -> str:
    return f"sandbox-{message.delivery_id}"
