"""Twilio against a stand-in that checks what Twilio checks; its package as the second opinion."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import pytest

from notifier.channels.contract import (
    Acknowledged,
    Call,
    Forged,
    Misunderstood,
    Question,
    Replied,
    Told,
)
from notifier.channels.twilio import Twilio
from notifier.channels.twilio_callbacks import CALL_STATUS, ERRORS, MESSAGE_STATUS, Again
from notifier.errors import SettingError
from notifier.outcome import (
    Accepted,
    Candidates,
    NotFound,
    Outcome,
    Rejected,
    RetryLater,
    Unsure,
)
from notifier.status import RECEIVED, Status
from notifier.words import Channel
from tests.channels.conftest import always, make_message
from tests.channels.stands import Stand
from tests.vendors import twilio as vendor
from tests.vendors.server import Said

PUBLIC = "https://notify.example.com"


@contextmanager
def stand(_: Path) -> Iterator[Stand]:
    with vendor.Twilio() as server:
        yield Stand(server.environment(), lambda: len(server.messages))


@pytest.fixture
def twilio() -> Iterator[vendor.Twilio]:
    with vendor.Twilio() as server:
        yield server


@pytest.fixture
def provider(twilio: vendor.Twilio) -> Iterator[Twilio]:
    made = Twilio.from_environment(twilio.environment() | {"NOTIFIER_PUBLIC_URL": PUBLIC})
    assert made is not None
    yield made
    made.close()


def outcome_of(provider: Twilio, channel: Channel = Channel.SMS, **fields: object) -> Outcome:
    ((_, outcome),) = provider.send([make_message(channel, **fields)], always)
    return outcome


def test_an_sms_is_sent_and_its_call_back_names_the_delivery(
    twilio: vendor.Twilio, provider: Twilio
) -> None:
    message = make_message(Channel.SMS, parts={"text": "Grüße, 3 < 4 & more"})
    ((_, outcome),) = provider.send([message], always)
    (sid,) = twilio.messages
    assert outcome == Accepted(sid, "queued", segments=1)
    sent = twilio.messages[sid]
    assert (sent["to"], sent["from"], sent["body"]) == (
        message.address,
        vendor.NUMBER,
        "Grüße, 3 < 4 & more",
    )
    assert sent["callback"] == f"{PUBLIC}/webhooks/twilio?delivery={message.delivery_id}"


def test_a_messaging_service_sends_instead_of_a_number(twilio: vendor.Twilio) -> None:
    provider = Twilio.from_environment(
        twilio.environment() | {"NOTIFIER_TWILIO_FROM": vendor.SERVICE}
    )
    assert provider is not None
    assert provider.channels == {Channel.SMS}, "a service can not call"
    outcome = outcome_of(provider)
    assert isinstance(outcome, Accepted)
    assert outcome.segments is None, "it says 0 until it has chosen a sender"
    (sent,) = twilio.messages.values()
    assert (sent["messaging_service_sid"], sent["from"]) == (vendor.SERVICE, None)
    assert sent["callback"] is None, "nobody said where we can be reached"
    provider.close()


def test_a_call_speaks_the_text_twice_and_listens_for_a_key(
    twilio: vendor.Twilio, provider: Twilio
) -> None:
    message = make_message(
        Channel.VOICE,
        parts={"text": "Checkout & payments: <down>\x07"},
        acknowledge_url=f"{PUBLIC}/a/token",
    )
    ((_, outcome),) = provider.send([message], always)
    (sid,) = twilio.calls
    assert outcome == Accepted(sid, "queued")
    call = twilio.calls[sid]
    assert call["machine_detection"] == "Enable"
    spoken = ElementTree.fromstring(call["twiml"])
    gathers = spoken.findall("Gather")
    assert len(gathers) == 2
    for gather in gathers:
        assert gather.findtext("Say") == "Checkout & payments: <down> "
        assert gather.get("action") == (
            f"{PUBLIC}/webhooks/twilio?delivery={message.delivery_id}&act=keypress"
        )


@pytest.mark.parametrize("key", "0123456789*#")
def test_any_key_acknowledges(twilio: vendor.Twilio, provider: Twilio, key: str) -> None:
    delivery = uuid.uuid4()
    asked = {"acknowledge_url": f"{PUBLIC}/a/token", "delivery_id": delivery}
    assert isinstance(outcome_of(provider, Channel.VOICE, **asked), Accepted)
    (made,) = twilio.calls.values()
    given = vendor.pressed(made["twiml"], key)
    assert given is not None, "no request is made"
    heard = provider.hear(call(given, f"?delivery={delivery}&act=keypress"))
    assert heard.facts == [Acknowledged(delivery, "keypress")]


@pytest.mark.parametrize("url", [None, f"{PUBLIC}/a/token"])
def test_a_long_text_is_said_once_and_one_that_is_too_long_never(
    twilio: vendor.Twilio, provider: Twilio, url: str | None
) -> None:
    for text, times in (("x" * 1600, 2), ("x" * 3000, 1), ("&" * 600, 1), ("x" * 4000, 0)):
        twilio.calls.clear()
        outcome = outcome_of(provider, Channel.VOICE, parts={"text": text}, acknowledge_url=url)
        said = [
            each.text
            for made in twilio.calls.values()
            for each in ElementTree.fromstring(made["twiml"]).iter("Say")
        ]
        assert said.count(text) == times
        if times == 0:
            assert isinstance(outcome, Rejected)
            assert (outcome.code, outcome.address_dead) == ("too_long", False)


def test_a_call_that_nobody_can_answer_to_only_speaks(twilio: vendor.Twilio) -> None:
    provider = Twilio.from_environment(twilio.environment())
    assert provider is not None
    asked = {"acknowledge_url": f"{PUBLIC}/a/token"}
    assert isinstance(outcome_of(provider, Channel.VOICE, **asked), Accepted)
    (call,) = twilio.calls.values()
    spoken = ElementTree.fromstring(call["twiml"])
    assert [each.tag for each in spoken] == ["Say", "Pause", "Say"]
    assert call["callback"] is None
    provider.close()


def test_a_call_that_nobody_waits_to_be_answered_only_speaks(
    twilio: vendor.Twilio, provider: Twilio
) -> None:
    assert isinstance(outcome_of(provider, Channel.VOICE), Accepted)
    (call,) = twilio.calls.values()
    spoken = ElementTree.fromstring(call["twiml"])
    assert [each.tag for each in spoken] == ["Say", "Pause", "Say"]
    assert call["callback"] is not None


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+15005550001", Rejected("21211", "Invalid 'To' Phone Number: +1500555XXXX", True)),
        ("+15005550002", Rejected("21612", "The 'To' phone number can not be reached via SMS")),
        ("+15005550004", Rejected("21610", "Attempt to send to unsubscribed recipient")),
        ("+15005550009", Rejected("21614", "'To' number is not a valid mobile number", True)),
    ],
)
def test_a_refusal_keeps_twilios_code_and_words(
    provider: Twilio, number: str, expected: Rejected
) -> None:
    assert outcome_of(provider, address=number) == expected


def test_an_unknown_code_is_tried_again(twilio: vendor.Twilio, provider: Twilio) -> None:
    twilio.before = lambda _: Said(400, {"code": 29999, "message": "new", "status": 400})
    assert outcome_of(provider) == RetryLater("29999", "new")


def test_wrong_credentials_are_no_fault_of_the_message(twilio: vendor.Twilio) -> None:
    provider = Twilio.from_environment(
        twilio.environment() | {"NOTIFIER_TWILIO_AUTH_TOKEN": "wrong"}
    )
    assert provider is not None
    assert outcome_of(provider) == RetryLater("20003", "Authenticate")
    assert provider.check() == "Authenticate"
    provider.close()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            Said(429, {}, {"Retry-After": "7"}),
            RetryLater("429", "HTTP 429 Too Many Requests", timedelta(seconds=7), throttled=True),
        ),
        (Said(503, b"<html>"), RetryLater("503", "HTTP 503 Service Unavailable")),
        (Said(500, b"oops"), Unsure("HTTP 500 Internal Server Error")),
        (Said(502, b"oops"), Unsure("HTTP 502 Bad Gateway")),
        (Said(0, cut=True), Unsure("no answer: RemoteDisconnected")),
        (Said(201, b"no json"), Unsure("unexpected JSONDecodeError in the provider")),
        (Said(404, b"<html>no json"), RetryLater("404", "Unable to create record")),
    ],
)
def test_what_twilios_machines_answer(
    twilio: vendor.Twilio, provider: Twilio, said: Said, expected: Outcome
) -> None:
    twilio.before = lambda _: said
    assert outcome_of(provider) == expected


def test_where_nobody_listens_nothing_was_sent(twilio: vendor.Twilio) -> None:
    environment = twilio.environment() | {"NOTIFIER_TWILIO_API_URL": "http://127.0.0.1:9"}
    provider = Twilio.from_environment(environment)
    assert provider is not None
    outcome = outcome_of(provider)
    assert isinstance(outcome, RetryLater)
    assert outcome.code == "connect"


def test_connections_are_kept(twilio: vendor.Twilio, provider: Twilio) -> None:
    messages = [make_message(Channel.SMS) for _ in range(40)]
    answers = list(provider.send(messages, always))
    assert all(isinstance(outcome, Accepted) for _, outcome in answers)
    assert len(twilio.messages) == 40
    assert twilio.connections <= provider.at_once


# Asking


def question(provider: Twilio, channel: Channel, ago: float, **fields: object) -> Question:
    message = replace(make_message(channel, **fields), parts={})
    return Question(message, datetime.now(UTC) - timedelta(seconds=ago))


@pytest.mark.parametrize("channel", [Channel.SMS, Channel.VOICE])
def test_what_went_to_the_number_since_is_a_candidate(
    twilio: vendor.Twilio, provider: Twilio, channel: Channel
) -> None:
    message = make_message(channel)
    outcome = outcome_of(provider, channel)
    other = outcome_of(provider, channel, address="+14155550123")
    assert isinstance(outcome, Accepted)
    assert outcome.provider_message_id
    assert isinstance(other, Accepted)
    asked = question(provider, channel, 20, address=message.address)
    ((_, answer),) = provider.look_up([asked])
    assert answer == Candidates(
        {outcome.provider_message_id: Accepted(outcome.provider_message_id, "queued")}
    )


def test_what_is_older_is_none(twilio: vendor.Twilio, provider: Twilio) -> None:
    outcome_of(provider)
    for message in twilio.messages.values():
        message["date_created"] = "Thu, 24 Aug 2023 05:01:45 +0000"
    ((_, answer),) = provider.look_up([question(provider, Channel.SMS, 20)])
    assert answer == NotFound()


def test_one_that_failed_is_rejected_with_its_code(twilio: vendor.Twilio, provider: Twilio) -> None:
    outcome_of(provider)
    (sid,) = twilio.messages
    twilio.messages[sid] |= {"status": "undelivered", "error_code": 30005}
    ((_, answer),) = provider.look_up([question(provider, Channel.SMS, 20)])
    assert answer == Candidates({sid: Rejected("30005", "Twilio says undelivered", True)})


@pytest.mark.parametrize(
    ("status", "answered", "expected"),
    [
        ("completed", "human", Accepted("", "completed", delivered=True)),
        ("completed", None, Accepted("", "completed", delivered=True)),
        (
            "completed",
            "machine_start",
            Rejected("machine", "Twilio says completed, answered by machine_start"),
        ),
        ("in-progress", "machine_start", Accepted("", "in-progress")),
        ("busy", None, Rejected("busy", "Twilio says busy")),
    ],
)
def test_a_call_that_is_asked_about_is_judged_as_its_call_back(
    twilio: vendor.Twilio,
    provider: Twilio,
    status: str,
    answered: str | None,
    expected: Accepted | Rejected,
) -> None:
    outcome_of(provider, Channel.VOICE)
    (sid,) = twilio.calls
    twilio.calls[sid] |= {"status": status, "answered_by": answered}
    ((_, answer),) = provider.look_up([question(provider, Channel.VOICE, 20)])
    if isinstance(expected, Accepted):
        expected = replace(expected, provider_message_id=sid)
    assert answer == Candidates({sid: expected})


def test_asked_while_away_it_can_not_tell(twilio: vendor.Twilio, provider: Twilio) -> None:
    twilio.before = lambda _: Said(503, {})
    ((_, answer),) = provider.look_up([question(provider, Channel.SMS, 20)])
    assert answer == Unsure("HTTP 503 Service Unavailable")


# Hearing


def call(given: dict[str, str], query: str = "", token: str = vendor.TOKEN) -> Call:
    url = f"{PUBLIC}/webhooks/twilio{query}"
    headers = {name.lower(): value for name, value in vendor.signed(url, given, token).items()}
    return Call("POST", url, headers, vendor.form_of(given))


def test_a_status_call_back_is_read(provider: Twilio) -> None:
    delivery = uuid.uuid4()
    given = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+4915112345678"}
    given |= {"NumSegments": "2", "Price": "-0.0075", "PriceUnit": "USD"}
    heard = provider.hear(call(given, f"?delivery={delivery}"))
    assert heard.facts == [
        Told(
            Status.DELIVERED,
            "SM1",
            "delivered",
            delivery,
            segments=2,
            price=Decimal("0.0075"),
            currency="USD",
        )
    ]


@pytest.mark.parametrize("word", MESSAGE_STATUS)
def test_every_message_status_means_one_of_ours(provider: Twilio, word: str) -> None:
    (told,) = provider.hear(call({"MessageSid": "SM1", "MessageStatus": word})).facts
    expected = {
        "sent": Status.SENT,
        "delivered": Status.DELIVERED,
        "read": Status.OPENED,
        "undelivered": Status.FAILED,
        "failed": Status.FAILED,
        "canceled": Status.FAILED,
    }
    assert isinstance(told, Told)
    assert told.status is expected.get(word)
    assert told.status is None or told.status in RECEIVED
    assert told.raw == word


@pytest.mark.parametrize("word", CALL_STATUS)
def test_every_call_status_means_one_of_ours(provider: Twilio, word: str) -> None:
    (told,) = provider.hear(call({"CallSid": "CA1", "CallStatus": word})).facts
    expected = {
        "ringing": Status.SENT,
        "in-progress": Status.SENT,
        "completed": Status.DELIVERED,
        "busy": Status.FAILED,
        "no-answer": Status.FAILED,
        "failed": Status.FAILED,
        "canceled": Status.FAILED,
    }
    assert isinstance(told, Told)
    assert told.status is expected.get(word)
    assert told.code == (word if told.status is Status.FAILED else None)


def test_a_status_it_does_not_know_is_kept_and_moves_nothing(provider: Twilio) -> None:
    (told,) = provider.hear(call({"MessageSid": "SM1", "MessageStatus": "teleported"})).facts
    assert told == Told(None, "SM1", "teleported")


@pytest.mark.parametrize(("code", "again"), ERRORS.items())
def test_a_failure_ends_the_address_only_where_its_code_says_so(
    provider: Twilio, code: str, again: Again
) -> None:
    given = {"MessageSid": "SM1", "MessageStatus": "undelivered", "ErrorCode": code}
    (told,) = provider.hear(call(given)).facts
    assert isinstance(told, Told)
    assert told.status is (Status.BOUNCED if again is Again.DEAD else Status.FAILED)
    assert told.code == code


@pytest.mark.parametrize("who", ["machine_start", "machine_end_beep", "fax"])
def test_a_machine_that_answers_is_nobody(provider: Twilio, who: str) -> None:
    given = {"CallSid": "CA1", "CallStatus": "completed", "AnsweredBy": who}
    (told,) = provider.hear(call(given)).facts
    assert isinstance(told, Told)
    assert (told.status, told.code, told.detail) == (
        Status.FAILED,
        "machine",
        f"answered by {who}",
    )


def test_a_key_acknowledges_and_the_caller_hears_so(provider: Twilio) -> None:
    delivery = uuid.uuid4()
    given = {"CallSid": "CA1", "CallStatus": "in-progress", "Digits": "1"}
    heard = provider.hear(call(given, f"?delivery={delivery}&act=keypress"))
    assert heard.facts == [Acknowledged(delivery, "keypress")]
    assert heard.media_type == "text/xml"
    assert "acknowledged" in (ElementTree.fromstring(heard.answer).findtext("Say") or "")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"Body": "Stop"}, False),
        ({"Body": " UNSUBSCRIBE\n"}, False),
        ({"Body": "start"}, True),
        ({"Body": "pare", "OptOutType": "STOP"}, False),
        ({"Body": "oui", "OptOutType": "START"}, True),
        ({"Body": "stop it please"}, None),
        ({"Body": "help", "OptOutType": "HELP"}, None),
    ],
)
def test_stop_and_start_are_heard(
    provider: Twilio, given: dict[str, str], wanted: bool | None
) -> None:
    incoming = {"MessageSid": "SM1", "SmsStatus": "received", "From": "+4915112345678"}
    heard = provider.hear(call(incoming | given))
    ElementTree.fromstring(heard.answer)
    words = [
        (fact.channel, fact.address, fact.wanted)
        for fact in heard.facts
        if isinstance(fact, Replied)
    ]
    assert words == ([] if wanted is None else [(Channel.SMS, "+4915112345678", wanted)])


def test_what_is_not_signed_by_the_account_is_forged(provider: Twilio) -> None:
    given = {"MessageSid": "SM1", "MessageStatus": "delivered"}
    good = call(given, "?delivery=1")
    for bad in (
        call(given, token="e" * 32),
        replace(good, body=vendor.form_of(given | {"MessageStatus": "failed"})),
        replace(good, url=good.url.replace("delivery=1", "delivery=2")),
        replace(good, headers={}),
        replace(good, headers={"x-twilio-signature": ""}),
        replace(good, headers={"x-twilio-signature": "é"}),
    ):
        with pytest.raises(Forged):
            provider.hear(bad)


def test_what_twilio_does_not_send_is_not_understood(provider: Twilio) -> None:
    with pytest.raises(Misunderstood):
        provider.hear(call({"Foo": "bar"}))


# Settings


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ACCOUNT_SID", "AC123"),
        ("ACCOUNT_SID", ""),
        ("AUTH_TOKEN", ""),
        ("FROM", ""),
        ("VOICE_FROM", "Acme"),
        ("API_URL", "ftp://example.com"),
        ("API_URL", "https://user@example.com"),
        ("CONCURRENCY", "0"),
    ],
)
def test_a_wrong_setting_is_named(twilio: vendor.Twilio, setting: str, value: str) -> None:
    name = f"NOTIFIER_TWILIO_{setting}"
    with pytest.raises(SettingError, match=name):
        Twilio.from_environment(twilio.environment() | {name: value})


def test_without_any_setting_it_is_off() -> None:
    assert Twilio.from_environment({}) is None
