"""Amazon SES against a stand-in that works out every signature."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from notifier.channels.ses import Ses, endpoint
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.words import Channel
from tests.channels.conftest import always, make_message
from tests.channels.stands import Stand
from tests.vendors import ses as vendor
from tests.vendors.server import Said


@contextmanager
def stand(_: Path) -> Iterator[Stand]:
    with vendor.Ses() as server:
        yield Stand(server.environment(), lambda: len(server.messages))


@pytest.fixture
def ses() -> Iterator[vendor.Ses]:
    with vendor.Ses() as server:
        yield server


@pytest.fixture
def provider(ses: vendor.Ses) -> Iterator[Ses]:
    made = provider_for(ses)
    yield made
    made.close()


def provider_for(ses: vendor.Ses, **more: str) -> Ses:
    given = {f"NOTIFIER_SES_{name}": value for name, value in more.items()}
    made = Ses.from_environment(ses.environment() | given)
    assert made is not None
    return made


def outcome_of(provider: Ses, **fields: object) -> Outcome:
    ((_, outcome),) = provider.send([make_message(Channel.EMAIL, **fields)], always)
    return outcome


def error(status: int, name: str, message: str = "no") -> Said:
    return Said(status, {"message": message}, {"x-amzn-ErrorType": name})


def test_a_mail_is_sent_whole_with_our_tag(ses: vendor.Ses, provider: Ses) -> None:
    message = make_message(
        Channel.EMAIL,
        parts={"subject": "Grüße", "text": "Hallo", "html": "<p>Hallo</p>"},
        unsubscribe_url="https://notify.example.com/u/t",
    )
    ((_, outcome),) = provider.send([message], always)
    ((told, mail),) = ses.messages.items()
    assert outcome == Accepted(told, "200")
    assert mail["Subject"] == "Grüße"
    assert mail["From"] == f"Acme <{vendor.SENDER}>"
    assert mail["X-Notifier-Delivery"] == str(message.delivery_id)
    assert mail["List-Unsubscribe"] == "<https://notify.example.com/u/t>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    sent = ses.requests[told]
    assert sent["Destination"] == {"ToAddresses": [message.address]}
    assert sent["EmailTags"] == [{"Name": "notifier_delivery", "Value": str(message.delivery_id)}]
    assert sent["ConfigurationSetName"] == vendor.SET


def test_a_temporary_key_signs_with_its_token(ses: vendor.Ses) -> None:
    ses.session_token = "AQoDYXdz/=="
    provider = provider_for(ses, SESSION_TOKEN="AQoDYXdz/==", CONFIGURATION_SET="")
    assert isinstance(outcome_of(provider), Accepted)
    assert "ConfigurationSetName" not in next(iter(ses.requests.values()))
    provider.close()


def test_a_path_in_front_of_the_api_is_signed_too(ses: vendor.Ses) -> None:
    provider = provider_for(ses, API_URL=f"{ses.url}/aws")
    # The signature fits, which is looked at first; there is nothing at this path.
    outcome = outcome_of(provider)
    assert isinstance(outcome, RetryLater)
    assert outcome.code == "UnknownOperationException"
    provider.close()


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("SECRET_ACCESS_KEY", "wrong", "InvalidSignatureException"),
        ("ACCESS_KEY_ID", "AKIDOTHER", "UnrecognizedClientException"),
        ("SESSION_TOKEN", "expired", "UnrecognizedClientException"),
        ("REGION", "us-east-1", "InvalidSignatureException"),
        ("CONFIGURATION_SET", "gone", "NotFoundException"),
    ],
)
def test_settings_that_do_not_fit_are_no_fault_of_the_message(
    ses: vendor.Ses, name: str, value: str, code: str
) -> None:
    more = {name: value}
    provider = provider_for(ses, **more)
    outcome = outcome_of(provider)
    assert isinstance(outcome, RetryLater)
    assert outcome.code == code
    provider.close()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (error(400, "MessageRejected"), Rejected("MessageRejected", "no")),
        (error(400, "BadRequestException:http://a/"), Rejected("BadRequestException", "no")),
        (
            Said(400, {"__type": "com.amazonaws.ses#BadRequestException", "message": "no"}),
            Rejected("BadRequestException", "no"),
        ),
        (
            error(400, "MailFromDomainNotVerifiedException"),
            RetryLater("MailFromDomainNotVerifiedException", "no"),
        ),
        (error(400, "AccountSuspendedException"), RetryLater("AccountSuspendedException", "no")),
        (error(400, "SendingPausedException"), RetryLater("SendingPausedException", "no")),
        (error(400, "LimitExceededException"), RetryLater("LimitExceededException", "no")),
        (error(400, "ThrottlingException"), RetryLater("ThrottlingException", "no")),
        (error(404, "NotFoundException"), RetryLater("NotFoundException", "no")),
        (error(403, "AccessDeniedException"), RetryLater("AccessDeniedException", "no")),
        (
            error(429, "TooManyRequestsException"),
            RetryLater("429", "HTTP 429 Too Many Requests", throttled=True),
        ),
        (Said(400, b"?"), RetryLater("400", "?")),
        (Said(503, b""), RetryLater("503", "HTTP 503 Service Unavailable")),
        (Said(500, b""), Unsure("HTTP 500 Internal Server Error")),
        (Said(200, {}), Unsure("the answer does not say what became of it")),
        (Said(302, b"", {"Location": "/"}), RetryLater("302", "")),
        (Said(0, cut=True), Unsure("no answer: RemoteDisconnected")),
    ],
)
def test_what_an_answer_means(
    ses: vendor.Ses, provider: Ses, said: Said, expected: Outcome
) -> None:
    ses.before = lambda _: said
    assert outcome_of(provider) == expected


def test_a_sender_that_is_not_verified_is_no_fault_of_the_message(ses: vendor.Ses) -> None:
    provider = provider_for(ses, FROM="Acme <other@example.org>")
    for verified in (None, {"ada@example.com"}, set[str]()):
        ses.verified = verified
        outcome = outcome_of(provider)
        assert isinstance(outcome, RetryLater), verified
        assert outcome.code == "MessageRejected"
        assert "other@example.org" in outcome.reason
    provider.close()


def test_a_recipient_that_a_sandbox_account_may_not_write_to_is_rejected(
    ses: vendor.Ses, provider: Ses
) -> None:
    ses.verified = {"bob@example.com"}
    outcome = outcome_of(provider)
    assert isinstance(outcome, Rejected)
    assert (outcome.code, outcome.address_dead) == ("MessageRejected", False)
    assert isinstance(outcome_of(provider, address="bob@example.com"), Accepted)


def test_an_address_that_ses_can_not_take_is_not_sent(ses: vendor.Ses, provider: Ses) -> None:
    assert outcome_of(provider, address="jürgen@example.com") == Rejected(
        "smtputf8", "the local part is not ASCII, which SES does not take"
    )
    outcome_of(provider, address="ada@bücher.example")
    assert [r["Destination"]["ToAddresses"] for r in ses.requests.values()] == [
        ["ada@xn--bcher-kva.example"]
    ]


def test_the_account_is_checked_without_sending(ses: vendor.Ses, provider: Ses) -> None:
    assert provider.check() is None
    ses.sending = False
    assert provider.check() == "sending is paused for the account"
    ses.before = lambda _: error(403, "AccessDeniedException")
    assert provider.check() is None, "a key that may do nothing but send is a good one"
    ses.before = lambda _: error(403, "UnrecognizedClientException")
    assert provider.check() == "UnrecognizedClientException: no"
    assert ses.messages == {}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ACCESS_KEY_ID", ""),
        ("SECRET_ACCESS_KEY", ""),
        ("SECRET_ACCESS_KEY", "sécret"),
        ("SESSION_TOKEN", "a\nb"),
        ("REGION", ""),
        ("REGION", "frankfurt"),
        ("REGION", "eu-central-1.evil.example/"),
        ("FROM", "Acme"),
        ("TOPIC_ARN", "ses-events"),
        ("TOPIC_ARN", "arn:aws:sns:eu-central-1:123456789012:ses-events:subscription"),
        ("API_URL", "nowhere"),
        ("SNS_URL", "nowhere"),
    ],
)
def test_a_wrong_setting_is_named(ses: vendor.Ses, setting: str, value: str) -> None:
    with pytest.raises(SettingError) as caught:
        provider_for(ses, **{setting: value})
    assert caught.value.variable == f"NOTIFIER_SES_{setting}"


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-gov-west-1", "email.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "email.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_each_region_has_its_endpoint(region: str, host: str) -> None:
    assert endpoint(region) == f"https://{host}"


def test_unconfigured_it_is_absent() -> None:
    assert Ses.from_environment({}) is None
