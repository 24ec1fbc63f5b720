"""Vonage against a stand-in that checks what Vonage checks."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import pytest

from notifier.channels.contract import Call, Forged, Misunderstood, Question, Replied, Told
from notifier.channels.vonage import RECEIPT_STATUS, Vonage
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.status import Status
from notifier.words import Channel
from tests.channels.conftest import always, make_message
from tests.channels.stands import Stand
from tests.vendors import vonage as vendor
from tests.vendors.server import Said

PUBLIC = "https://notify.example.com"


@contextmanager
def stand(_: Path) -> Iterator[Stand]:
    with vendor.Vonage() as server:
        yield Stand(server.environment(), lambda: len(server.messages))


@pytest.fixture
def vonage() -> Iterator[vendor.Vonage]:
    with vendor.Vonage() as server:
        yield server


@pytest.fixture
def provider(vonage: vendor.Vonage) -> Iterator[Vonage]:
    made = Vonage.from_environment(vonage.environment() | {"NOTIFIER_PUBLIC_URL": PUBLIC})
    assert made is not None
    yield made
    made.close()


def outcome_of(provider: Vonage, **fields: object) -> Outcome:
    ((_, outcome),) = provider.send([make_message(Channel.SMS, **fields)], always)
    return outcome


@pytest.mark.parametrize(
    ("text", "kind"), [("Due & soon", "text"), ("Grüße", "text"), ("Привет", "unicode")]
)
def test_an_sms_is_sent_with_our_reference_and_its_alphabet(
    vonage: vendor.Vonage, provider: Vonage, text: str, kind: str
) -> None:
    message = make_message(Channel.SMS, parts={"text": text})
    ((_, outcome),) = provider.send([message], always)
    ((told, sent),) = vonage.messages.items()
    assert outcome == Accepted(told, "0", segments=1)
    assert (sent["to"], sent["from"], sent["type"]) == ("4915112345678", vendor.SENDER, kind)
    assert sent["client-ref"] == str(message.delivery_id)
    assert sent["callback"] == f"{PUBLIC}/webhooks/vonage"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+15005550001", Rejected("33", "Number De-activated", address_dead=True)),
        ("+15005550002", Rejected("6", "Unroutable message - rejected")),
        ("+15005550004", Rejected("7", "Number barred")),
        ("+15005550500", RetryLater("5", "Internal Error")),
    ],
)
def test_a_refusal_keeps_vonages_code_and_words(
    provider: Vonage, number: str, expected: Outcome
) -> None:
    assert outcome_of(provider, address=number) == expected


def test_throttling_is_waited_out(provider: Vonage) -> None:
    outcome = outcome_of(provider, address="+15005550429")
    assert isinstance(outcome, RetryLater)
    assert (outcome.code, outcome.throttled) == ("1", True)


def test_wrong_credentials_are_no_fault_of_the_message(vonage: vendor.Vonage) -> None:
    provider = Vonage.from_environment(
        vonage.environment() | {"NOTIFIER_VONAGE_API_SECRET": "wrong"}
    )
    assert provider is not None
    assert outcome_of(provider) == RetryLater("4", "Bad Credentials")
    provider.close()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Said(429, {}), RetryLater("429", "HTTP 429 Too Many Requests", throttled=True)),
        (Said(500, b"oops"), Unsure("HTTP 500 Internal Server Error")),
        (Said(0, cut=True), Unsure("no answer: RemoteDisconnected")),
        (Said(200, b"no json"), Unsure("the answer does not say what became of it")),
        (Said(200, {"messages": []}), Unsure("the answer does not say what became of it")),
        (Said(200, {"messages": ["?"]}), Unsure("the answer does not say what became of it")),
        (Said(404, b"<html>"), RetryLater("404", "<html>")),
        (
            Said(200, {"messages": [{"status": "3"}, {"status": "0", "message-id": "B"}]}),
            Accepted("B", "0", segments=1),
        ),
    ],
)
def test_what_vonages_machines_answer(
    vonage: vendor.Vonage, provider: Vonage, said: Said, expected: Outcome
) -> None:
    vonage.before = lambda _: said
    assert outcome_of(provider) == expected


def test_an_attempt_in_doubt_can_not_be_asked_about(provider: Vonage) -> None:
    question = Question(make_message(Channel.SMS, parts={}), datetime.now(UTC))
    ((_, answer),) = provider.look_up([question])
    assert isinstance(answer, Unsure)


RECEIPT = {
    "msisdn": "4915112345678",
    "to": "Acme",
    "network-code": "12345",
    "messageId": "0A0000001234567B",
    "price": "0.03330000",
    "status": "delivered",
    "scts": "2001011400",
    "err-code": "0",
    "api-key": vendor.KEY,
    "message-timestamp": "2020-01-01 14:00:00",
}


def calls(given: dict[str, str], secret: str = vendor.SIGNATURE) -> list[Call]:
    """The same call in each of the three forms an account can choose."""
    url, sent = f"{PUBLIC}/webhooks/vonage", vendor.signed(given, secret)
    form = {"content-type": "application/x-www-form-urlencoded"}
    return [
        Call("GET", f"{url}?{urlencode(sent)}", {}, b""),
        Call("POST", url, form, urlencode(sent).encode()),
        Call("POST", url, {"content-type": "application/json"}, json.dumps(sent).encode()),
    ]


@pytest.mark.parametrize("form", range(3))
def test_a_receipt_is_read(provider: Vonage, form: int) -> None:
    delivery = uuid.uuid4()
    given = RECEIPT | {"client-ref": str(delivery)}
    assert provider.hear(calls(given)[form]).facts == [
        Told(
            Status.DELIVERED,
            "0A0000001234567B",
            "delivered",
            delivery,
            at=datetime(2020, 1, 1, 14, tzinfo=UTC),
            price=Decimal("0.03330000"),
            currency="EUR",
        )
    ]


@pytest.mark.parametrize("word", RECEIPT_STATUS)
def test_every_status_of_a_receipt_means_one_of_ours(provider: Vonage, word: str) -> None:
    expected = {
        "accepted": Status.SENT,
        "delivered": Status.DELIVERED,
        "expired": Status.FAILED,
        "failed": Status.FAILED,
        "rejected": Status.FAILED,
        "undelivered": Status.FAILED,
    }
    (told,) = provider.hear(calls(RECEIPT | {"status": word, "err-code": "5"})[0]).facts
    assert isinstance(told, Told)
    assert told.status is expected.get(word)
    assert told.code == ("5" if told.status is Status.FAILED else None)


@pytest.mark.parametrize("code", ["3", "4"])
def test_a_number_that_is_no_more_bounces(provider: Vonage, code: str) -> None:
    (told,) = provider.hear(calls(RECEIPT | {"status": "failed", "err-code": code})[0]).facts
    assert isinstance(told, Told)
    assert (told.status, told.code) == (Status.BOUNCED, code)


def test_a_number_that_opted_out_fails_and_lives(provider: Vonage) -> None:
    (told,) = provider.hear(calls(RECEIPT | {"status": "rejected", "err-code": "9"})[0]).facts
    assert isinstance(told, Told)
    assert (told.status, told.code) == (Status.FAILED, "9")


def test_a_receipt_without_our_reference_is_known_by_its_id(provider: Vonage) -> None:
    for reference in ({}, {"client-ref": "somebody else's"}):
        (told,) = provider.hear(calls(RECEIPT | reference)[0]).facts
        assert isinstance(told, Told)
        assert told.delivery_id is None


def test_stop_and_start_are_heard(provider: Vonage) -> None:
    incoming = {"msisdn": "4915112345678", "to": "12345", "messageId": "1", "type": "text"}
    for word, wanted in (("stop", False), ("Start ", True)):
        heard = provider.hear(calls(incoming | {"text": word})[1])
        expected = Replied(Channel.SMS, "+4915112345678", wanted, word.strip().upper())
        assert heard.facts == [expected]
    for word in ("please stop", "thanks", ""):
        assert provider.hear(calls(incoming | {"text": word})[1]).facts == []


def test_what_vonage_does_not_send_is_not_understood(provider: Vonage) -> None:
    with pytest.raises(Misunderstood):
        provider.hear(calls({"foo": "bar"})[1])


def test_what_is_not_signed_with_the_accounts_secret_is_forged(
    vonage: vendor.Vonage, provider: Vonage
) -> None:
    get, post, body = calls(RECEIPT)
    for bad in (
        *calls(RECEIPT, "another secret"),
        replace(get, url=get.url.replace("delivered", "failed")),
        replace(post, body=post.body.replace(b"delivered", b"failed")),
        replace(post, body=b""),
        replace(body, body=b"[]"),
        replace(body, body=b"{"),
        replace(body, body=b'{"sig": "\xc3\xa9"}'),
    ):
        with pytest.raises(Forged):
            provider.hear(bad)
    unsigned = {k: v for k, v in vonage.environment().items() if "SIGNATURE" not in k}
    without = Vonage.from_environment(unsigned)
    assert without is not None
    with pytest.raises(Forged, match="NOTIFIER_VONAGE_SIGNATURE_SECRET"):
        without.hear(get)
    without.close()


@pytest.mark.parametrize("setting", ["API_KEY", "API_SECRET", "FROM"])
def test_a_missing_setting_is_named(vonage: vendor.Vonage, setting: str) -> None:
    name = f"NOTIFIER_VONAGE_{setting}"
    with pytest.raises(SettingError, match=name):
        Vonage.from_environment(vonage.environment() | {name: ""})
