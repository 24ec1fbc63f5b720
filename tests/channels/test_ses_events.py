"""What SES tells by way of SNS, signed as SNS signs it by a certificate of the stand-in."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from notifier.channels.contract import Call, Forged, Misunderstood, NotNow, Told
from notifier.channels.ses import EVENT_STATUS, Ses
from notifier.status import Status
from tests.channels.test_ses import provider, provider_for, ses
from tests.vendors import ses as vendor
from tests.vendors.server import Said

__all__ = ["provider", "ses"]

TOLD = "EXAMPLE7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000"


def call(message: Any) -> Call:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    headers = {
        "content-type": "text/plain; charset=UTF-8",
        "x-amz-sns-message-type": "Notification",
    }
    return Call("POST", "https://notify.example.com/webhooks/ses", headers, body)


def heard(ses: vendor.Ses, provider: Ses, event: Any, version: str = "1") -> Any:
    return provider.hear(call(ses.notification(event, version))).facts


@pytest.mark.parametrize("version", ["1", "2"])
def test_an_event_names_our_delivery_and_its_time(
    ses: vendor.Ses, provider: Ses, version: str
) -> None:
    delivery = uuid.uuid4()
    particulars = {
        "timestamp": "2017-08-05T00:41:02.669Z",
        "smtpResponse": "250 ok: Message 64111812 accepted",
        "recipients": ["ada@example.com"],
    }
    event = vendor.record("Delivery", delivery, delivery=particulars)
    assert heard(ses, provider, event, version) == [
        Told(
            Status.DELIVERED,
            TOLD,
            "Delivery",
            delivery,
            at=datetime(2017, 8, 5, 0, 41, 2, 669000, tzinfo=UTC),
            detail="250 ok: Message 64111812 accepted",
        )
    ]


def test_the_certificate_is_fetched_once(ses: vendor.Ses, provider: Ses) -> None:
    for _ in range(3):
        heard(ses, provider, vendor.record("Send", uuid.uuid4(), send={}))
    assert [asked.path for asked in ses.asked] == [vendor.CERTIFICATE]


@pytest.mark.parametrize("word", [*EVENT_STATUS, "Teleported"])
def test_every_event_means_one_of_our_statuses(ses: vendor.Ses, provider: Ses, word: str) -> None:
    expected = {
        "Send": Status.SENT,
        "Delivery": Status.DELIVERED,
        "Bounce": Status.FAILED,
        "Reject": Status.FAILED,
        "Rendering Failure": Status.FAILED,
        "Open": Status.OPENED,
        "Click": Status.CLICKED,
        "Complaint": Status.COMPLAINED,
    }
    (told,) = heard(ses, provider, vendor.record(word, uuid.uuid4()))
    assert told.status is expected.get(word)
    assert told.at == datetime(2017, 8, 5, 0, 40, 2, 12000, tzinfo=UTC), "when it was sent"


def bounce(kind: str, sub: str, **recipient: str) -> dict[str, Any]:
    return {
        "bounceType": kind,
        "bounceSubType": sub,
        "bouncedRecipients": [{"emailAddress": "ada@example.com", **recipient}],
        "timestamp": "2017-08-05T00:41:02.669Z",
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            bounce("Permanent", "General", status="5.1.1", diagnosticCode="smtp; 550 unknown"),
            (Status.BOUNCED, "5.1.1", "smtp; 550 unknown"),
        ),
        (
            bounce("Permanent", "OnAccountSuppressionList"),
            (
                Status.BOUNCED,
                "Permanent/OnAccountSuppressionList",
                "Permanent/OnAccountSuppressionList",
            ),
        ),
        (
            bounce("Transient", "MailboxFull", status="5.2.2", diagnosticCode="smtp; 552 full"),
            (Status.FAILED, "5.2.2", "smtp; 552 full"),
        ),
        (
            bounce("Undetermined", "Undetermined"),
            (Status.FAILED, "Undetermined/Undetermined", "Undetermined/Undetermined"),
        ),
    ],
)
def test_only_a_permanent_bounce_is_the_addresss_fault(
    ses: vendor.Ses, provider: Ses, given: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    (told,) = heard(ses, provider, vendor.record("Bounce", uuid.uuid4(), bounce=given))
    assert (told.status, told.code, told.detail) == expected


def test_taken_out_of_the_junk_is_no_complaint(ses: vendor.Ses, provider: Ses) -> None:
    for kind, status in (("abuse", Status.COMPLAINED), ("not-spam", None)):
        given = {"complaintFeedbackType": kind, "timestamp": "2017-08-05T00:41:02.669Z"}
        (told,) = heard(ses, provider, vendor.record("Complaint", uuid.uuid4(), complaint=given))
        assert (told.status, told.detail) == (status, kind)


def test_without_our_tag_a_message_is_known_by_its_id(ses: vendor.Ses, provider: Ses) -> None:
    event = vendor.record("Delivery")
    # What an identity notifies of by itself carries no tags, and another name for the event.
    event["notificationType"] = event.pop("eventType")
    del event["mail"]["tags"]
    (told,) = heard(ses, provider, event)
    assert (told.status, told.delivery_id, told.provider_message_id) == (
        Status.DELIVERED,
        None,
        TOLD,
    )


@pytest.mark.parametrize(
    "event",
    [
        "Successfully validated SNS topic for Amazon SES event publishing.",
        "[]",
        {},
        {"eventType": "Send"},
        {"eventType": 1, "mail": {"messageId": "1"}},
        {"eventType": "Send", "mail": {"tags": {"notifier_delivery": []}}},
    ],
)
def test_what_is_about_no_message_of_ours_is_passed_over(
    ses: vendor.Ses, provider: Ses, event: Any
) -> None:
    assert heard(ses, provider, event) == []


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_subscription_is_confirmed(ses: vendor.Ses, provider: Ses, version: str) -> None:
    message = ses.confirmation(version)
    assert provider.hear(call(message)).facts == []
    assert ses.confirmed == [message["Token"]]


def test_only_our_topic_and_only_at_amazon_is_confirmed(ses: vendor.Ses, provider: Ses) -> None:
    other = vendor.TOPIC.replace("ses-events", "theirs")
    with pytest.raises(Forged):
        provider.hear(call(ses.confirmation(TopicArn=other)))
    for url in (
        "https://evil.example/?Action=ConfirmSubscription",
        "http://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription",
        "https://sns.eu-central-1.amazonaws.com.evil.example/?Action=ConfirmSubscription",
        "https://sns.eu-central-1.amazonaws.com@evil.example/?Action=ConfirmSubscription",
        "https://sns.eu-central-1.amazonaws.com:8443/?Action=ConfirmSubscription",
        "https://[",
    ):
        with pytest.raises(Misunderstood):
            provider.hear(call(ses.confirmation(SubscribeURL=url)))
    assert ses.confirmed == []
    assert {asked.path for asked in ses.asked} == {vendor.CERTIFICATE}


def test_a_confirmation_that_sns_refuses_is_told(ses: vendor.Ses, provider: Ses) -> None:
    heard(ses, provider, "")
    ses.before = lambda _: Said(403, b"expired")
    with pytest.raises(Misunderstood, match="403"):
        provider.hear(call(ses.confirmation()))


def test_the_end_of_a_subscription_is_told(ses: vendor.Ses, provider: Ses) -> None:
    with pytest.raises(Misunderstood, match="ended"):
        provider.hear(call(ses.confirmation(Type="UnsubscribeConfirmation")))


@pytest.mark.parametrize("said", [Said(503, b""), Said(429, b""), Said(0, cut=True)])
def test_what_can_not_be_checked_now_is_asked_for_again(
    ses: vendor.Ses, provider: Ses, said: Said
) -> None:
    message = call(ses.notification(vendor.record("Bounce", uuid.uuid4())))
    ses.before = lambda _: said
    with pytest.raises(NotNow):
        provider.hear(message)
    ses.before = lambda _: None
    assert len(provider.hear(message).facts) == 1


def test_what_sns_did_not_sign_is_forged(ses: vendor.Ses, provider: Ses) -> None:
    good = ses.notification(vendor.record("Delivery", uuid.uuid4()))
    forged: tuple[Any, ...] = (
        good | {"Message": good["Message"].replace("Delivery", "Bounce")},
        good | {"Subject": "another"},
        {name: value for name, value in good.items() if name != "Subject"},
        good | {"SignatureVersion": "2"},
        good | {"SignatureVersion": "3"},
        good | {"Signature": "AAAA"},
        good | {"Signature": "é"},
        good | {"Type": "SubscriptionConfirmation"},
        good | {"Type": "Other"},
        {name: value for name, value in good.items() if name != "Signature"},
        {name: value for name, value in good.items() if name != "Message"},
        ses.notification("{}", TopicArn=vendor.TOPIC.replace("ses-events", "theirs")),
        good | {"TopicArn": [vendor.TOPIC]},
        b"\xff",
        [],
    )
    for bad in forged:
        with pytest.raises(Forged):
            provider.hear(call(bad))
    assert len(provider.hear(call(good)).facts) == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://[",
        "https://evil.example" + vendor.CERTIFICATE,
        "http://sns.eu-central-1.amazonaws.com" + vendor.CERTIFICATE,
        "https://sns.us-east-1.amazonaws.com" + vendor.CERTIFICATE,
        "https://sns.eu-central-1.amazonaws.com.evil.example" + vendor.CERTIFICATE,
        "https://sns.eu-central-1.amazonaws.com:444" + vendor.CERTIFICATE,
        "https://sns.eu-central-1.amazonaws.com/bucket/own.pem",
        f"{vendor.SNS}{vendor.CERTIFICATE}?a=b",
    ],
)
def test_a_certificate_from_elsewhere_is_not_even_fetched(
    ses: vendor.Ses, provider: Ses, url: str
) -> None:
    with pytest.raises(Forged, match="SigningCertURL"):
        provider.hear(call(ses.notification({}, SigningCertURL=url)))
    assert ses.asked == []


@pytest.mark.parametrize("said", [Said(404, b""), Said(200, b"no certificate"), Said(301, b"")])
def test_what_is_no_certificate_verifies_nothing(
    ses: vendor.Ses, provider: Ses, said: Said
) -> None:
    ses.before = lambda _: said
    with pytest.raises(Forged):
        provider.hear(call(ses.notification({})))


def test_without_a_topic_nothing_is_believed(ses: vendor.Ses) -> None:
    provider = provider_for(ses, TOPIC_ARN="")
    with pytest.raises(Forged, match="NOTIFIER_SES_TOPIC_ARN"):
        provider.hear(call(ses.notification({})))
    provider.close()


def test_the_signature_covers_what_came_and_not_what_it_was_parsed_to(
    ses: vendor.Ses, provider: Ses
) -> None:
    good = call(ses.notification({"eventType": "Send"}))
    spaced = replace(good, body=json.dumps(json.loads(good.body), indent=2).encode())
    assert provider.hear(spaced).facts == []
