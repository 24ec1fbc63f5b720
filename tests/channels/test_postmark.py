"""Postmark against a stand-in that checks what Postmark checks."""

import base64
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from notifier.channels.contract import (
    Attachment,
    Call,
    Forged,
    Message,
    Misunderstood,
    Replied,
    Told,
)
from notifier.channels.postmark import BATCH, BOUNCE_STATUS, FULL, Postmark
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.status import Status
from notifier.words import Channel
from tests.channels.conftest import always, make_message
from tests.channels.stands import Stand
from tests.vendors import postmark as vendor
from tests.vendors.server import Said

TOLD = "883953f4-6105-42a2-a16a-77a8eac79483"


@contextmanager
def stand(_: Path) -> Iterator[Stand]:
    with vendor.Postmark() as server:
        yield Stand(server.environment(), lambda: len(server.messages))


@pytest.fixture
def postmark() -> Iterator[vendor.Postmark]:
    with vendor.Postmark() as server:
        yield server


@pytest.fixture
def provider(postmark: vendor.Postmark) -> Iterator[Postmark]:
    made = provider_for(postmark)
    yield made
    made.close()


def provider_for(postmark: vendor.Postmark, **more: str) -> Postmark:
    given = {f"NOTIFIER_POSTMARK_{name}": value for name, value in more.items()}
    made = Postmark.from_environment(postmark.environment() | given)
    assert made is not None
    return made


def outcomes_of(provider: Postmark, *messages: Message) -> list[Outcome]:
    answers = list(provider.send(messages, always))
    assert [message for message, _ in answers] == list(messages)
    return [outcome for _, outcome in answers]


def outcome_of(provider: Postmark, **fields: object) -> Outcome:
    (outcome,) = outcomes_of(provider, make_message(Channel.EMAIL, **fields))
    return outcome


def test_a_mail_is_sent_with_both_bodies_and_our_reference(
    postmark: vendor.Postmark, provider: Postmark
) -> None:
    message = make_message(
        Channel.EMAIL,
        parts={"subject": "Grüße", "text": "Hallo", "html": "<p>Hallo</p>"},
        unsubscribe_url="https://notify.example.com/u/t",
    )
    (outcome,) = outcomes_of(provider, message)
    ((told, sent),) = postmark.messages.items()
    assert outcome == Accepted(told, "0")
    headers = {header["Name"]: header["Value"] for header in sent.pop("Headers")}
    assert sent == {
        "From": f'"Acme" <{vendor.SENDER}>',
        "To": message.address,
        "Subject": "Grüße",
        "TextBody": "Hallo",
        "HtmlBody": "<p>Hallo</p>",
        "MessageStream": "outbound",
        "Metadata": {"notifier_delivery": str(message.delivery_id)},
    }
    assert headers == {
        "X-Notifier-Delivery": str(message.delivery_id),
        "List-Unsubscribe": "<https://notify.example.com/u/t>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


@pytest.mark.parametrize("sender", ["notify@example.org", '"A \\"B\\" ü" <notify@example.org>'])
def test_a_senders_name_is_quoted_or_absent(postmark: vendor.Postmark, sender: str) -> None:
    provider = provider_for(postmark, FROM=sender, MESSAGE_STREAM="broadcast")
    assert isinstance(outcome_of(provider, parts={"subject": "", "text": ""}), Accepted)
    (sent,) = postmark.messages.values()
    assert (sent["From"], sent["MessageStream"]) == (sender, "broadcast")
    provider.close()


def test_a_domain_goes_out_as_dns_knows_it(postmark: vendor.Postmark, provider: Postmark) -> None:
    assert isinstance(outcome_of(provider, address="ada@bücher.example"), Accepted)
    (sent,) = postmark.messages.values()
    assert sent["To"] == "ada@xn--bcher-kva.example"


def test_an_address_that_postmark_can_not_take_is_not_sent(
    postmark: vendor.Postmark, provider: Postmark
) -> None:
    assert outcome_of(provider, address="jürgen@example.com") == Rejected(
        "smtputf8", "the local part is not ASCII: Postmark does not take it"
    )
    assert not postmark.asked


def test_a_batch_is_one_request_and_each_message_has_its_own_answer(
    postmark: vendor.Postmark, provider: Postmark
) -> None:
    messages = [make_message(address=f"user{n}@example.com") for n in range(BATCH + 5)]
    messages[3] = replace(messages[3], address="nobody")
    messages[4] = replace(messages[4], parts={"subject": "s"})
    postmark.inactive = {"user7@example.com"}
    outcomes = outcomes_of_any_order(provider, messages)
    assert len(postmark.asked) == 2
    told = {sent["To"]: told for told, sent in postmark.messages.items()}
    for place, (message, outcome) in enumerate(zip(messages, outcomes, strict=True)):
        match place:
            case 3:
                assert outcome == Rejected(
                    "invalid_address", "not an e-mail address such as name@example.com", True
                )
            case 4:
                assert isinstance(outcome, Rejected)
                assert outcome.code == "missing_part"
            case 7:
                assert isinstance(outcome, Rejected)
                assert (outcome.code, outcome.address_dead) == ("406", False)
            case _:
                assert outcome == Accepted(told[message.address], "0")


def outcomes_of_any_order(provider: Postmark, messages: list[Message]) -> list[Outcome]:
    """In the order of the messages: what is refused here is known before the others."""
    found = {message.delivery_id: outcome for message, outcome in provider.send(messages, always)}
    assert len(found) == len(messages)
    return [found[message.delivery_id] for message in messages]


def test_what_nobody_answers_is_in_doubt_and_no_more_than_a_batch(
    postmark: vendor.Postmark, provider: Postmark
) -> None:
    postmark.after = lambda _: Said(0, cut=True) if len(postmark.asked) == 1 else None
    outcomes = outcomes_of(provider, *(make_message() for _ in range(2 * BATCH)))
    assert outcomes[:BATCH] == [Unsure("no answer: RemoteDisconnected")] * BATCH
    assert all(isinstance(outcome, Accepted) for outcome in outcomes[BATCH:])


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (300, Rejected("300", "no")),
        (402, Rejected("402", "no")),
        (406, Rejected("406", "no")),
        (400, RetryLater("400", "no")),
        (401, RetryLater("401", "no")),
        (405, RetryLater("405", "no")),
        (412, RetryLater("412", "no")),
        (413, RetryLater("413", "no")),
        (429, RetryLater("429", "no")),
        (1235, RetryLater("1235", "no")),
        (9999, RetryLater("9999", "no")),
    ],
)
def test_what_an_error_code_means(
    postmark: vendor.Postmark, provider: Postmark, code: int, expected: Outcome
) -> None:
    postmark.before = lambda _: Said(200, [{"ErrorCode": code, "Message": "no"}])
    assert outcome_of(provider) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Said(401, {"ErrorCode": 10, "Message": "token"}), RetryLater("10", "token")),
        (Said(422, {"ErrorCode": 300, "Message": "all of it"}), RetryLater("300", "all of it")),
        (Said(404, b"<html>"), RetryLater("404", "<html>")),
        (Said(413, b""), RetryLater("413", "")),
        (Said(429, {}), RetryLater("429", "HTTP 429 Too Many Requests", throttled=True)),
        (Said(503, b""), RetryLater("503", "HTTP 503 Service Unavailable")),
        (Said(500, b""), Unsure("HTTP 500 Internal Server Error")),
        (Said(200, b"?"), Unsure("the answer does not say what became of it")),
        (Said(200, []), Unsure("the answer does not say what became of it")),
        (Said(200, ["?"]), Unsure("the answer does not say what became of it")),
        (Said(200, [{"Message": "OK"}]), Unsure("the answer does not say what became of it")),
        (Said(0, cut=True), Unsure("no answer: RemoteDisconnected")),
    ],
)
def test_what_is_said_of_the_whole_request_is_no_messages_fault(
    postmark: vendor.Postmark, provider: Postmark, said: Said, expected: Outcome
) -> None:
    postmark.before = lambda _: said
    assert outcome_of(provider) == expected


def test_where_nothing_listens_nothing_was_sent(postmark: vendor.Postmark) -> None:
    provider = provider_for(postmark, API_URL="http://127.0.0.1:1")
    outcomes = outcomes_of(provider, make_message(), make_message())
    assert all(isinstance(outcome, RetryLater) for outcome in outcomes)
    provider.close()


def test_the_token_is_checked_without_sending(postmark: vendor.Postmark) -> None:
    provider = provider_for(postmark, SERVER_TOKEN="wrong")
    assert "tokens" in str(provider.check())
    assert outcome_of(provider) == RetryLater("10", str(provider.check()))
    provider.close()


# Events


def call(record: Any, login: str = vendor.LOGIN) -> Call:
    body = record if isinstance(record, bytes) else json.dumps(record).encode()
    headers = {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    return Call("POST", "https://notify.example.com/webhooks/postmark", headers, body)


def record(word: str, delivery: uuid.UUID | None = None, **more: object) -> dict[str, object]:
    return {
        "RecordType": word,
        "MessageStream": "outbound",
        "ServerID": 1234,
        "MessageID": TOLD,
        "Tag": "",
        "Metadata": {"notifier_delivery": str(delivery)} if delivery else {},
        **more,
    }


def test_a_delivery_names_ours_and_its_time(provider: Postmark) -> None:
    delivery = uuid.uuid4()
    given = record(
        "Delivery",
        delivery,
        Recipient="ada@example.com",
        DeliveredAt="2014-08-01T13:28:10.2735393-04:00",
        Details="250 OK",
    )
    assert provider.hear(call(given)).facts == [
        Told(
            Status.DELIVERED,
            TOLD,
            "Delivery",
            delivery,
            at=datetime(2014, 8, 1, 17, 28, 10, 273539, tzinfo=UTC),
            detail="250 OK",
        )
    ]


@pytest.mark.parametrize(
    ("word", "more", "expected"),
    [
        ("Open", {"FirstOpen": True, "ReceivedAt": "2019-11-05T16:33:54.907Z"}, Status.OPENED),
        ("Click", {"OriginalLink": "https://a.example"}, Status.CLICKED),
        ("SpamComplaint", {"Type": "SpamComplaint", "Inactive": True}, Status.COMPLAINED),
        ("SubscriptionChange", {"SuppressSending": True, "SuppressionReason": "HardBounce"}, Status.BOUNCED),
        ("SubscriptionChange", {"SuppressSending": True, "SuppressionReason": "SpamComplaint"}, Status.COMPLAINED),
        ("SubscriptionChange", {"SuppressSending": True, "SuppressionReason": "ManualSuppression", "Origin": "Admin"}, None),
        ("SubscriptionChange", {"SuppressSending": False, "SuppressionReason": None, "Origin": "Customer"}, None),
        ("Inbound", {}, None),
    ],
)  # fmt: skip
def test_every_record_means_one_of_our_statuses(
    provider: Postmark, word: str, more: dict[str, object], expected: Status | None
) -> None:
    (told,) = provider.hear(call(record(word, uuid.uuid4(), **more))).facts
    assert isinstance(told, Told)
    assert told.status is expected
    assert told.provider_message_id == TOLD


@pytest.mark.parametrize(
    "kind", [*BOUNCE_STATUS, "Transient", "SoftBounce", "DnsError", "Blocked", "SpamNotification"]
)
def test_every_bounce_means_one_of_our_statuses(provider: Postmark, kind: str) -> None:
    expected = {
        "HardBounce": Status.BOUNCED,
        "BadEmailAddress": Status.BOUNCED,
        "SpamComplaint": Status.COMPLAINED,
        "SoftBounce": Status.FAILED,
        "DnsError": Status.FAILED,
        "Blocked": Status.FAILED,
        "SpamNotification": Status.FAILED,
        "Transient": Status.FAILED,
    }
    given = record("Bounce", uuid.uuid4(), Type=kind, Details="550 5.1.1 unknown user")
    (told,) = provider.hear(call(given)).facts
    assert isinstance(told, Told)
    assert told.status is expected.get(kind)
    failed = told.status in (Status.FAILED, Status.BOUNCED)
    assert (told.code, told.detail) == (kind if failed else None, "550 5.1.1 unknown user")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            record("Bounce", Type="Unsubscribe", Email="ada@example.com"),
            Replied(Channel.EMAIL, "ada@example.com", False, "Unsubscribe"),
        ),
        (
            record(
                "SubscriptionChange",
                Recipient="ada@example.com",
                Origin="Recipient",
                SuppressSending=True,
                SuppressionReason="ManualSuppression",
            ),
            Replied(Channel.EMAIL, "ada@example.com", False, "ManualSuppression"),
        ),
        (
            record(
                "SubscriptionChange",
                Recipient="ada@example.com",
                Origin="Recipient",
                SuppressSending=False,
                SuppressionReason=None,
            ),
            Replied(Channel.EMAIL, "ada@example.com", True, "SubscriptionChange"),
        ),
    ],
)
def test_what_recipients_wish_is_heard(
    provider: Postmark, given: dict[str, object], expected: Replied
) -> None:
    assert provider.hear(call(given)).facts == [expected]


@pytest.mark.parametrize("suppressed", [True, False])
def test_what_recipients_wish_of_another_stream_is_none_of_ours(
    postmark: vendor.Postmark, suppressed: bool
) -> None:
    given = record(
        "SubscriptionChange",
        Recipient="ada@example.com",
        Origin="Recipient",
        SuppressSending=suppressed,
        SuppressionReason="ManualSuppression" if suppressed else None,
    )
    provider = provider_for(postmark, MESSAGE_STREAM="broadcast")
    assert provider.hear(call(given)).facts == []
    (wish,) = provider.hear(call(given | {"MessageStream": "broadcast"})).facts
    assert isinstance(wish, Replied)
    assert wish.wanted is not suppressed
    provider.close()


def test_what_is_about_no_message_of_ours_is_passed_over(provider: Postmark) -> None:
    for given in (
        {"RecordType": "Delivery"},
        record("Delivery", MessageID=None, Metadata=None),
        record("SubscriptionChange", MessageID=None, SuppressSending=False, Origin="Admin"),
    ):
        assert provider.hear(call(given)).facts == []


def test_whoever_does_not_log_in_is_not_believed(
    postmark: vendor.Postmark, provider: Postmark
) -> None:
    good = call(record("Bounce", uuid.uuid4(), Type="HardBounce"))
    for bad in (
        call(good.body, "postmark:other"),
        call(good.body, "other:hook-password"),
        replace(good, headers={}),
        replace(good, headers={"authorization": "Basic é"}),
        replace(good, headers={"authorization": good.headers["authorization"].lower()}),
    ):
        with pytest.raises(Forged):
            provider.hear(bad)
    for senseless in (b"\xff", b"[]", b"{}", b'{"RecordType": 1}'):
        with pytest.raises(Misunderstood):
            provider.hear(call(senseless))
    without = provider_for(postmark, WEBHOOK_SECRET="")
    with pytest.raises(Forged, match="NOTIFIER_POSTMARK_WEBHOOK_SECRET"):
        without.hear(good)
    without.close()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("SERVER_TOKEN", ""),
        ("SERVER_TOKEN", "tökén"),
        ("FROM", ""),
        ("FROM", "Acme"),
        ("WEBHOOK_SECRET", "password"),
        ("WEBHOOK_SECRET", ":password"),
        ("WEBHOOK_SECRET", "user:"),
        ("API_URL", "nowhere"),
        ("TIMEOUT_SECONDS", "60"),
    ],
)
def test_a_wrong_setting_is_named(postmark: vendor.Postmark, setting: str, value: str) -> None:
    with pytest.raises(SettingError) as caught:
        provider_for(postmark, **{setting: value})
    assert caught.value.variable == f"NOTIFIER_POSTMARK_{setting}"


def test_unconfigured_it_is_absent() -> None:
    assert Postmark.from_environment({}) is None


def test_files_go_along(postmark: vendor.Postmark, provider: Postmark) -> None:
    files = [Attachment("Grüße.pdf", "application/pdf", b"%PDF"), Attachment("b", "a/b", b"\0")]
    assert isinstance(outcome_of(provider, attachments=files), Accepted)
    (sent,) = postmark.messages.values()
    assert sent["Attachments"] == [
        {"Name": "Grüße.pdf", "Content": "JVBERg==", "ContentType": "application/pdf"},
        {"Name": "b", "Content": "AA==", "ContentType": "a/b"},
    ]


def test_the_largest_files_fit_and_fill_a_request(
    postmark: vendor.Postmark, provider: Postmark
) -> None:
    large = [Attachment("large.bin", "application/octet-stream", b"x" * FULL)]
    small = [Attachment("small.bin", "application/octet-stream", b"x" * (FULL - 1))]
    carried = (small, large, large, (), ())
    messages = [make_message(Channel.EMAIL, attachments=files) for files in carried]
    outcomes = outcomes_of(provider, *messages)
    assert all(isinstance(outcome, Accepted) for outcome in outcomes), outcomes
    assert [len(asked.json) for asked in postmark.asked] == [2, 1, 2]


def test_a_message_starts_only_when_it_may(postmark: vendor.Postmark, provider: Postmark) -> None:
    """Whether one may start is asked no earlier than its own request is made."""
    large = [Attachment("large.bin", "application/octet-stream", b"x" * FULL)]
    asked: list[int] = []

    def may_start() -> bool:
        asked.append(len(postmark.messages))
        return True

    messages = [make_message(Channel.EMAIL, attachments=large) for _ in range(3)]
    assert len(list(provider.send(messages, may_start))) == 3
    assert asked == [0, 1, 2]


def test_what_is_refused_is_told_after_the_others_are_sent(
    postmark: vendor.Postmark, provider: Postmark
) -> None:
    """Whoever reads an outcome may take long, and the others were allowed to start before that."""
    refused = make_message(Channel.EMAIL, parts={})
    sent = make_message(Channel.EMAIL)
    outcomes = provider.send([refused, sent], always)
    message, outcome = next(outcomes)
    assert (message, type(outcome)) == (sent, Accepted)
    message, outcome = next(outcomes)
    assert (message, type(outcome)) == (refused, Rejected)
