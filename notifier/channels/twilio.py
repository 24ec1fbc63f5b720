"""SMS and voice through Twilio, with its own package over our wire.

https://www.twilio.com/docs/messaging/api/message-resource
https://www.twilio.com/docs/voice/api/call-resource

Twilio takes no idempotency key for a message or a call (its `I-Twilio-Idempotency-Token` stands in
its own calls to us), so an attempt in doubt is asked about: its status call back names our delivery
within seconds, and the lists of messages and calls can be read by number. A list does not show what
address a call back goes to, so what it holds are candidates, which the engine tells apart by the
ids it knows.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID
from xml.sax.saxutils import escape

from notifier.channels import addresses, crew, http, twilio_callbacks, variables
from notifier.channels.api import Api, address_of, busy
from notifier.channels.contract import (
    Call,
    Forged,
    Heard,
    MayStart,
    Message,
    Outcomes,
    Provider,
    Question,
)
from notifier.channels.twilio_callbacks import ERRORS, MESSAGE_STATUS, Again, call_became
from notifier.errors import SettingError
from notifier.outcome import (
    Accepted,
    Answer,
    Candidates,
    NotFound,
    Outcome,
    Rejected,
    RetryLater,
    Unsure,
)
from notifier.status import Status
from notifier.words import Channel

ACCOUNT = "NOTIFIER_TWILIO_ACCOUNT_SID"
TOKEN = "NOTIFIER_TWILIO_AUTH_TOKEN"
FROM = "NOTIFIER_TWILIO_FROM"
VOICE_FROM = "NOTIFIER_TWILIO_VOICE_FROM"
VOICE = "NOTIFIER_TWILIO_VOICE"
LANGUAGE = "NOTIFIER_TWILIO_LANGUAGE"
CONCURRENCY = "NOTIFIER_TWILIO_CONCURRENCY"
TIMEOUT = "NOTIFIER_TWILIO_TIMEOUT_SECONDS"
API_URL = "NOTIFIER_TWILIO_API_URL"

_SERVICE = "MG"
"""What the id of a Messaging Service begins with."""

LONGEST = 4000
"""Characters of a call's TwiML at most: https://www.twilio.com/docs/api/errors/32018."""

_MOST_LISTED = 50


class Twilio(Provider):
    """SMS from a number, a sender name or a Messaging Service; calls from a number.

    A call speaks the text, and where its event asks for an acknowledgement and Twilio can reach us
    takes any key for one.
    """

    name = "twilio"
    channels = frozenset({Channel.SMS, Channel.VOICE})
    # Until its lists are believed to be complete: it promises nothing.
    settles = timedelta(seconds=10)

    def __init__(
        self,
        account: str,
        token: str,
        *,
        sender: str,
        caller: str | None,
        calls_back_at: str | None,
        voice: str = "alice",
        language: str = "en-US",
        concurrency: int = 8,
        deadline: timedelta = timedelta(seconds=15),
        base: str = "https://api.twilio.com",
    ) -> None:
        self.at_once = concurrency
        self.deadline = deadline
        self.channels = frozenset({Channel.SMS, *([Channel.VOICE] if caller else [])})
        self._token = token
        self._sender, self._caller = sender, caller
        self._calls_back_at = calls_back_at
        self._spoken = f'voice="{escape(voice)}" language="{escape(language)}"'
        self._account = account
        self._api = Api(base, self.deadline.total_seconds())
        self._client: Any = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Twilio | None":
        given = variables.together(environment, ACCOUNT, TOKEN, FROM)
        caller = variables.text(environment, VOICE_FROM)
        voice = variables.text(environment, VOICE) or "alice"
        language = variables.text(environment, LANGUAGE) or "en-US"
        concurrency = variables.whole(environment, CONCURRENCY, 8, 1, 64)
        seconds = variables.whole(environment, TIMEOUT, 15, 1, 25)
        base = address_of(environment, API_URL, "https://api.twilio.com")
        calls_back_at = variables.callback_url(environment, cls.name)
        if given is None:
            return None
        account, token, sender = given
        if not (account.startswith("AC") and len(account) == 34 and account.isalnum()):
            raise SettingError(ACCOUNT, "an account SID: AC and 32 hexadecimal digits")
        if caller is None and addresses.check_address(Channel.VOICE, sender) is None:
            caller = sender
        if caller is not None and addresses.check_address(Channel.VOICE, caller):
            raise SettingError(VOICE_FROM, addresses.EXPECTED_PHONE)
        return cls(
            account,
            token,
            sender=sender,
            caller=caller,
            calls_back_at=calls_back_at,
            voice=voice,
            language=language,
            concurrency=concurrency,
            deadline=timedelta(seconds=seconds),
            base=base,
        )

    @classmethod
    def variables(cls) -> Sequence[str]:
        return (ACCOUNT, TOKEN, FROM, VOICE_FROM, VOICE, LANGUAGE, CONCURRENCY, TIMEOUT, API_URL)

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        return crew.share(messages, self._send, self.at_once, may_start)

    def check_address(self, channel: Channel, address: str) -> str | None:
        return addresses.check_address(channel, address)

    def check(self) -> str | None:
        """Whether the account can be read with these credentials."""
        try:
            state = self._twilio().api.accounts(self._account).fetch().status
        except _Settled as early:
            return early.outcome.reason
        except Exception as fault:
            return _words(fault)
        return None if state == "active" else f"the account is {state}"

    def close(self) -> None:
        self._api.close()

    # Sending

    def _send(self, message: Message) -> Outcome:
        text = message.parts.get("text")
        if not text:
            return Rejected("missing_part", f"{message.channel} needs the part `text`")
        expected = addresses.check_address(message.channel, message.address)
        if expected:
            return Rejected("invalid_address", expected)
        twiml = self._twiml(message, text) if message.channel is Channel.VOICE else ""
        if len(twiml) > LONGEST:
            return Rejected("too_long", f"the call takes more than {LONGEST} characters of TwiML")
        from twilio.base.exceptions import TwilioRestException

        try:
            if message.channel is Channel.VOICE:
                made = self._twilio().calls.create(**self._call(message, twiml))
            else:
                made = self._twilio().messages.create(**self._message(message, text))
        except _Settled as early:
            return early.outcome
        except TwilioRestException as refusal:
            return _refused(refusal)
        # A Messaging Service chooses the sender later, and says 0 until then.
        told = "" if message.channel is Channel.VOICE else str(made.num_segments)
        segments = int(told) if told.isdecimal() else 0
        return Accepted(made.sid, str(made.status), segments=segments or None)

    def _message(self, message: Message, text: str) -> dict[str, Any]:
        by_service = self._sender.startswith(_SERVICE)
        return {
            "to": message.address,
            "body": text,
            "messaging_service_sid" if by_service else "from_": self._sender,
            **self._status_callback(message),
        }

    def _call(self, message: Message, twiml: str) -> dict[str, Any]:
        events = ["ringing", "answered", "completed"]
        callback = self._status_callback(message)
        return {
            "to": message.address,
            "from_": self._caller,
            "twiml": twiml,
            "machine_detection": "Enable",
            **callback,
            **({"status_callback_event": events} if callback else {}),
        }

    def _status_callback(self, message: Message) -> dict[str, str]:
        url = self._url(message.delivery_id)
        return {"status_callback": url} if url else {}

    def _url(self, delivery: UUID, **more: str) -> str | None:
        if self._calls_back_at is None:
            return None
        return f"{self._calls_back_at}?{urlencode({'delivery': str(delivery), **more})}"

    def _twiml(self, message: Message, text: str) -> str:
        """The text said twice, or once where twice is too long; where somebody waits for it, until
        a key is pressed."""
        spoken, pause = f"<Say {self._spoken}>{escape(_speakable(text))}</Say>", ""
        action = self._url(message.delivery_id, act="keypress")
        if action is None or message.acknowledge_url is None:
            pause = '<Pause length="1"/>'
        else:
            ask = f"<Say {self._spoken}>Press any key to acknowledge.</Say>"
            # Without `finishOnKey` a # ends it, and one that is pressed alone makes no request
            # (https://www.twilio.com/docs/voice/twiml/gather#finishonkey).
            spoken = (
                f'<Gather numDigits="1" finishOnKey="" timeout="5" action="{escape(action)}">'
                f"{spoken}{ask}</Gather>"
            )
        twice = f"<Response>{spoken}{pause}{spoken}</Response>"
        return twice if len(twice) <= LONGEST else f"<Response>{spoken}</Response>"

    # Asking

    def look_up(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
        for question in questions:
            yield question, self._find(question)

    def _find(self, question: Question) -> Answer:
        message = question.message
        voice = message.channel is Channel.VOICE
        try:
            if voice:
                listed = self._twilio().calls.list(to=message.address, limit=_MOST_LISTED)
            else:
                listed = self._twilio().messages.list(to=message.address, limit=_MOST_LISTED)
        except _Settled as early:
            return Unsure(early.outcome.reason)
        except Exception as fault:
            return Unsure(_words(fault))
        # Its clock counts whole seconds, and need not agree with ours to the second.
        earliest = question.since.replace(microsecond=0) - timedelta(seconds=2)
        found: dict[str, Accepted | Rejected] = {}
        for each in listed:
            if each.date_created >= earliest and str(each.direction).startswith("outbound"):
                found[each.sid] = _became(each, voice)
        if found:
            return Candidates(found)
        if len(listed) == _MOST_LISTED and listed[-1].date_created >= earliest:
            return Unsure("too many messages to this number to find one")
        return NotFound()

    # Hearing

    def hear(self, call: Call) -> Heard:
        from twilio.request_validator import RequestValidator

        signature = call.headers.get("x-twilio-signature", "")
        given = dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))
        if not RequestValidator(self._token).validate(call.url, given, signature):
            raise Forged("X-Twilio-Signature is missing or does not fit")
        query = dict(parse_qsl(urlsplit(call.url).query))
        delivery = None
        with suppress(KeyError, ValueError):
            delivery = UUID(query["delivery"])
        return twilio_callbacks.read(given, delivery, query.get("act"), self._spoken)

    # The package

    def _twilio(self) -> Any:
        """The package's client; made at the first use, because importing it takes a third of a
        second."""
        if self._client is None:
            from twilio.http import HttpClient
            from twilio.http.response import Response
            from twilio.rest import Client

            api = self._api

            class Transport(HttpClient):  # type: ignore[misc] # the package has no types
                """Calls through our wire, wherever the API stands."""

                def request(
                    self,
                    method: str,
                    uri: str,
                    params: Any = None,
                    data: Any = None,
                    headers: Any = None,
                    auth: Any = None,
                    *_: Any,
                    **__: Any,
                ) -> Response:
                    path = urlsplit(uri)
                    where = path.path + (f"?{path.query}" if path.query else "")
                    try:
                        answer = api.call(
                            method, where, params=params, data=data, headers=headers, auth=auth
                        )
                    except http.NotSent as fault:
                        raise _Settled(RetryLater(fault.code, fault.reason)) from None
                    except http.Unanswered as fault:
                        raise _Settled(Unsure(str(fault))) from None
                    if (later := busy(answer)) is not None:
                        raise _Settled(later)
                    return Response(answer.status_code, answer.text, dict(answer.headers))

            transport = Transport(logging.getLogger("notifier.twilio"), False)
            self._client = Client(self._account, self._token, http_client=transport, environment={})
        return self._client


class _Settled(Exception):
    """What came of a call is known before the package has looked at its answer."""

    def __init__(self, outcome: RetryLater | Unsure) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


def _refused(refusal: Any) -> RetryLater | Rejected:
    code = str(refusal.code or refusal.status)
    reason = _words(refusal)
    match ERRORS.get(code):
        case Again.DEAD:
            return Rejected(code, reason, address_dead=True)
        case Again.NEVER:
            return Rejected(code, reason)
    return RetryLater(code, reason)


def _became(listed: Any, voice: bool) -> Accepted | Rejected:
    """What a message or call of the lists has come to."""
    status = str(listed.status)
    if voice:
        answered = str(listed.answered_by or "")
        after, failed = call_became(status, answered)
        reason = f"Twilio says {status}" + (f", answered by {answered}" if answered else "")
    else:
        after, reason = MESSAGE_STATUS.get(status), f"Twilio says {status}"
        failed = str(listed.error_code or status)
    if after is Status.FAILED:
        code = failed or status
        return Rejected(code, reason, address_dead=ERRORS.get(code) is Again.DEAD)
    return Accepted(listed.sid, status, delivered=after in (Status.DELIVERED, Status.OPENED))


def _speakable(text: str) -> str:
    """Without what XML can not hold."""
    return "".join(c if c in "\t\n" or c >= " " else " " for c in text)


def _words(fault: Exception) -> str:
    """Twilio's own words, without those the package puts before them."""
    words = str(getattr(fault, "msg", "") or type(fault).__name__)
    return re.sub(r"^Unable to \w+ record: ", "", words)[:300]
