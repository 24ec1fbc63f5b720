"""SendGrid against a stand-in that checks what SendGrid checks and signs as it does."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from notifier.channels.contract import Attachment, Call, Forged, Misunderstood, Replied, Told
from notifier.channels.sendgrid import DELIVERY, EVENT_STATUS, SendGrid
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.status import Status
from notifier.words import Channel
from tests.channels.conftest import always, make_message
from tests.channels.stands import Stand
from tests.vendors import sendgrid as vendor
from tests.vendors.server import Said


@contextmanager
def stand(_: Path) -> Iterator[Stand]:
    with vendor.SendGrid() as server:
        yield Stand(server.environment(), lambda: len(server.messages))


@pytest.fixture
def sendgrid() -> Iterator[vendor.SendGrid]:
    with vendor.SendGrid() as server:
        yield server


@pytest.fixture
def provider(sendgrid: vendor.SendGrid) -> Iterator[SendGrid]:
    made = SendGrid.from_environment(sendgrid.environment())
    assert made is not None
    yield made
    made.close()


def outcome_of(provider: SendGrid, **fields: object) -> Outcome:
    ((_, outcome),) = provider.send([make_message(Channel.EMAIL, **fields)], always)
    return outcome


def test_an_e_mail_is_sent_with_both_bodies_and_our_reference(
    sendgrid: vendor.SendGrid, provider: SendGrid
) -> None:
    message = make_message(
        Channel.EMAIL,
        parts={"subject": "Grüße", "text": "Hallo", "html": "<p>Hallo</p>"},
        unsubscribe_url="https://notify.example.com/u/t",
    )
    ((_, outcome),) = provider.send([message], always)
    ((told, sent),) = sendgrid.messages.items()
    assert outcome == Accepted(told, "202")
    assert sent["personalizations"] == [
        {
            "to": [{"email": message.address}],
            "custom_args": {DELIVERY: str(message.delivery_id)},
        }
    ]
    assert sent["from"] == {"email": vendor.SENDER, "name": "Acme"}
    assert [part["type"] for part in sent["content"]] == ["text/plain", "text/html"]
    assert sent["headers"] == {
        "X-Notifier-Delivery": str(message.delivery_id),
        "List-Unsubscribe": "<https://notify.example.com/u/t>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def test_what_is_empty_is_sent_all_the_same(provider: SendGrid) -> None:
    assert isinstance(outcome_of(provider, parts={"subject": "", "text": ""}), Accepted)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            Said(400, {"errors": [{"message": "no", "field": "personalizations.0.to.0.email"}]}),
            Rejected("400", "personalizations.0.to.0.email: no", address_dead=True),
        ),
        (
            Said(400, {"errors": [{"message": "no", "field": "subject"}]}),
            Rejected("400", "subject: no"),
        ),
        (Said(400, b"?"), Rejected("400", "?")),
        (Said(413, {"errors": [{"message": "too large"}]}), Rejected("413", "too large")),
        (Said(401, {"errors": [{"message": "key", "field": None}]}), RetryLater("401", "key")),
        (Said(403, {"errors": []}), RetryLater("403", '{"errors": []}')),
        (Said(429, {}), RetryLater("429", "HTTP 429 Too Many Requests", throttled=True)),
        (Said(503, b""), RetryLater("503", "HTTP 503 Service Unavailable")),
        (Said(500, b""), Unsure("HTTP 500 Internal Server Error")),
        (Said(0, cut=True), Unsure("no answer: RemoteDisconnected")),
    ],
)
def test_what_an_answer_means(
    sendgrid: vendor.SendGrid, provider: SendGrid, said: Said, expected: Outcome
) -> None:
    sendgrid.before = lambda _: said
    assert outcome_of(provider) == expected


# Events


def call(sendgrid: vendor.SendGrid, events: Any) -> Call:
    body = json.dumps(events).encode()
    headers = {name.lower(): value for name, value in sendgrid.signed(body).items()}
    return Call("POST", "https://notify.example.com/webhooks/sendgrid", headers, body)


def event(word: str, delivery: uuid.UUID | None = None, **more: object) -> dict[str, object]:
    return {
        "email": "ada@example.com",
        "timestamp": 1513299569,
        "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
        "event": word,
        "sg_event_id": "sg_event_id",
        "sg_message_id": "14c5d75ce93.filter0001.16648.5515E0B88.0",
        **({DELIVERY: str(delivery)} if delivery else {}),
        **more,
    }


def test_events_come_many_at_once(sendgrid: vendor.SendGrid, provider: SendGrid) -> None:
    one, two = uuid.uuid4(), uuid.uuid4()
    heard = provider.hear(call(sendgrid, [event("delivered", one), event("open", two)]))
    at = datetime.fromtimestamp(1513299569, UTC)
    assert heard.facts == [
        Told(Status.DELIVERED, "14c5d75ce93", "delivered", one, at=at),
        Told(Status.OPENED, "14c5d75ce93", "open", two, at=at),
    ]


@pytest.mark.parametrize("word", [*EVENT_STATUS, "teleported"])
def test_every_event_means_one_of_our_statuses(
    sendgrid: vendor.SendGrid, provider: SendGrid, word: str
) -> None:
    expected = {
        "delivered": Status.DELIVERED,
        "bounce": Status.BOUNCED,
        "dropped": Status.FAILED,
        "open": Status.OPENED,
        "click": Status.CLICKED,
        "spamreport": Status.COMPLAINED,
    }
    (told,) = provider.hear(call(sendgrid, [event(word, uuid.uuid4())])).facts
    assert isinstance(told, Told)
    assert told.status is expected.get(word)


def test_a_bounce_says_why_and_a_block_is_none(
    sendgrid: vendor.SendGrid, provider: SendGrid
) -> None:
    words = [
        event("bounce", type="bounce", status="5.1.1", reason="550 5.1.1 unknown user"),
        event("bounce", type="blocked", status="4.0.0", reason="greylisted"),
        event("open", sg_machine_open=True),
    ]
    heard = [
        (fact.status, fact.code, fact.detail)
        for fact in provider.hear(call(sendgrid, words)).facts
        if isinstance(fact, Told)
    ]
    assert heard == [
        (Status.BOUNCED, "5.1.1", "550 5.1.1 unknown user"),
        (Status.FAILED, "4.0.0", "greylisted"),
        (None, None, None),
    ]


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("Bounced Address", Status.BOUNCED),
        ("Invalid", Status.BOUNCED),
        ("Spam Reporting Address", Status.COMPLAINED),
        ("Unsubscribed Address", Status.FAILED),
        ("Spam Content", Status.FAILED),
        ("Recipient List over Package Quota", Status.FAILED),
        (None, Status.FAILED),
    ],
)
def test_what_is_dropped_says_of_the_address_what_its_reason_says(
    sendgrid: vendor.SendGrid, provider: SendGrid, reason: str | None, status: Status
) -> None:
    given = event("dropped", uuid.uuid4(), reason=reason, status="5.0.0")
    (told,) = provider.hear(call(sendgrid, [given])).facts
    assert isinstance(told, Told)
    assert (told.status, told.detail) == (status, reason)
    assert told.code == (None if status is Status.COMPLAINED else "5.0.0")


def test_unsubscribing_at_sendgrid_is_heard(sendgrid: vendor.SendGrid, provider: SendGrid) -> None:
    assert provider.hear(call(sendgrid, [event("unsubscribe")])).facts == [
        Replied(Channel.EMAIL, "ada@example.com", False, "unsubscribe")
    ]


@pytest.mark.parametrize("word", ["group_unsubscribe", "group_resubscribe"])
def test_what_is_about_one_group_of_mails_is_no_wish_about_ours(
    sendgrid: vendor.SendGrid, provider: SendGrid, word: str
) -> None:
    assert provider.hear(call(sendgrid, [event(word, asm_group_id=42)])).facts == []


def test_an_event_that_is_about_nothing_of_ours_is_passed_over(
    sendgrid: vendor.SendGrid, provider: SendGrid
) -> None:
    odd = [None, 1, {}, {"event": 1}, {"event": "account_status_change", "type": "compliance"}]
    assert provider.hear(call(sendgrid, odd)).facts == []


def test_what_is_not_signed_with_the_accounts_key_is_forged(
    sendgrid: vendor.SendGrid, provider: SendGrid
) -> None:
    good = call(sendgrid, [event("delivered")])
    name = "x-twilio-email-event-webhook-signature"
    with vendor.SendGrid() as other:
        theirs = call(other, [event("delivered")])
    for bad in (
        theirs,
        replace(good, body=good.body.replace(b"delivered", b"bounce")),
        replace(good, headers={}),
        replace(good, headers={**good.headers, name: "é"}),
        replace(good, headers={**good.headers, name: "AAAA"}),
        replace(good, headers={**good.headers, "x-twilio-email-event-webhook-timestamp": "1"}),
    ):
        with pytest.raises(Forged):
            provider.hear(bad)
    for senseless in ({"a": 1}, "delivered"):
        with pytest.raises(Misunderstood):
            provider.hear(call(sendgrid, senseless))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("API_KEY", ""),
        ("FROM", ""),
        ("FROM", "Acme"),
        ("VERIFICATION_KEY", "no key"),
        ("VERIFICATION_KEY", "AAAA"),
        ("API_URL", "nowhere"),
    ],
)
def test_a_wrong_setting_is_named(sendgrid: vendor.SendGrid, setting: str, value: str) -> None:
    name = f"NOTIFIER_SENDGRID_{setting}"
    with pytest.raises(SettingError, match=name):
        SendGrid.from_environment(sendgrid.environment() | {name: value})


def test_without_its_verification_key_nothing_is_believed(sendgrid: vendor.SendGrid) -> None:
    environment = sendgrid.environment() | {"NOTIFIER_SENDGRID_VERIFICATION_KEY": ""}
    provider = SendGrid.from_environment(environment)
    assert provider is not None
    with pytest.raises(Forged, match="NOTIFIER_SENDGRID_VERIFICATION_KEY"):
        provider.hear(call(sendgrid, [event("delivered")]))
    provider.close()


def test_files_go_along(sendgrid: vendor.SendGrid, provider: SendGrid) -> None:
    files = [Attachment("Grüße.pdf", "application/pdf", b"%PDF"), Attachment("b", "a/b", b"\0")]
    assert isinstance(outcome_of(provider, attachments=files), Accepted)
    (sent,) = sendgrid.messages.values()
    assert [(f["filename"], f["type"], f["content"]) for f in sent["attachments"]] == [
        ("Grüße.pdf", "application/pdf", "JVBERg=="),
        ("b", "a/b", "AA=="),
    ]
