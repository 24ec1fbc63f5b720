"""FCM against a stand-in that checks the assertion, hands out tokens and asks for them."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from notifier.channels.fcm import FCM
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.words import Channel
from tests.channels.conftest import always, make_message
from tests.channels.stands import Stand
from tests.vendors import fcm as vendor
from tests.vendors.server import Asked, Said

SENDING = "/v1/projects/acme-push/messages:send"


@contextmanager
def stand(folder: Path) -> Iterator[Stand]:
    with vendor.FCM() as server:
        yield Stand(server.environment(folder), lambda: len(server.messages))


@pytest.fixture
def fcm() -> Iterator[vendor.FCM]:
    with vendor.FCM() as server:
        yield server


@pytest.fixture
def provider(fcm: vendor.FCM, tmp_path: Path) -> Iterator[FCM]:
    made = FCM.from_environment(fcm.environment(tmp_path))
    assert made is not None
    yield made
    made.close()


def at_sending(said: Said, asked: Asked) -> Said | None:
    return said if asked.path == SENDING else None


def outcome_of(provider: FCM, token: str = "token", **fields: object) -> Outcome:
    message = make_message(Channel.PUSH, address=f"fcm:{token}", **fields)
    ((_, outcome),) = provider.send([message], always)
    return outcome


def test_a_message_goes_out_with_what_every_kind_of_device_needs(
    fcm: vendor.FCM, provider: FCM
) -> None:
    expires = datetime.now(UTC) + timedelta(minutes=10)
    message = make_message(
        Channel.PUSH,
        address="fcm:c:APA91b",
        parts={
            "title": "Fällig",
            "text": "Grüße",
            "url": "https://example.com/1",
            "collapse_key": "build",
        },
        acknowledge_url="https://notify.example.com/a/1",
        expires_at=expires,
        urgent=True,
    )
    ((_, outcome),) = provider.send([message], always)
    ((name, sent),) = fcm.messages.items()
    assert outcome == Accepted(name, "200")
    assert sent["token"] == "c:APA91b"
    assert sent["notification"] == {"title": "Fällig", "body": "Grüße"}
    assert sent["data"] == {
        "delivery_id": str(message.delivery_id),
        "url": "https://example.com/1",
        "acknowledge_url": "https://notify.example.com/a/1",
    }
    android, apns, web = sent["android"], sent["apns"]["headers"], sent["webpush"]
    assert android["priority"] == "HIGH"
    assert 590 <= int(android["ttl"].removesuffix("s")) <= 600
    assert android["collapse_key"] == android["notification"]["tag"] == apns["apns-collapse-id"]
    assert abs(int(apns["apns-expiration"]) - expires.timestamp()) < 3
    assert web["headers"]["Urgency"] == "high"
    assert web["fcm_options"] == {"link": "https://example.com/1"}


def test_a_plain_message_asks_for_nothing_special(fcm: vendor.FCM, provider: FCM) -> None:
    parts = {"text": "Due", "url": "http://intranet/1"}
    assert isinstance(outcome_of(provider, parts=parts), Accepted)
    (sent,) = fcm.messages.values()
    assert sent["notification"] == {"body": "Due"}
    assert sent["android"]["priority"] == "NORMAL"
    assert sent["android"]["ttl"] == "2419200s"
    assert "collapse_key" not in sent["android"]
    assert "fcm_options" not in sent["webpush"], "only https may be a link"
    assert sent["data"]["url"] == "http://intranet/1"


@pytest.mark.parametrize(
    ("text", "ios", "android"),
    [("3", {"badge": 3}, 3), ("0", {"badge": 0}, None), ("", None, None)],
)
def test_a_badge_is_told_to_both_kinds_of_phone(
    fcm: vendor.FCM, provider: FCM, text: str, ios: dict[str, int] | None, android: int | None
) -> None:
    assert isinstance(outcome_of(provider, parts={"text": "Due", "badge": text}), Accepted)
    (sent,) = fcm.messages.values()
    assert sent["apns"].get("payload") == (None if ios is None else {"aps": ios})
    assert sent["android"]["notification"].get("notification_count") == android


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (
            "unregistered",
            Rejected("UNREGISTERED", "Requested entity was not found.", address_dead=True),
        ),
        (
            "rubbish",
            Rejected(
                "INVALID_ARGUMENT",
                "The registration token is not a valid FCM registration token",
                address_dead=True,
            ),
        ),
        ("mismatch", Rejected("SENDER_ID_MISMATCH", "SenderId mismatch")),
        ("quota", RetryLater("QUOTA_EXCEEDED", "Quota exceeded.", timedelta(seconds=60), True)),
        ("away", RetryLater("503", "HTTP 503 Service Unavailable")),
        ("internal", Unsure("HTTP 500 Internal Server Error")),
        (
            "apple",
            RetryLater("THIRD_PARTY_AUTH_ERROR", "Auth error from APNS or Web Push Service"),
        ),
        ("new", RetryLater("SOMETHING_NEW", "what nobody knows yet")),
    ],
)
def test_an_error_means_what_its_code_says(provider: FCM, token: str, expected: Outcome) -> None:
    assert outcome_of(provider, token) == expected


def test_a_message_that_is_wrong_does_not_cost_the_address(fcm: vendor.FCM, provider: FCM) -> None:
    said = vendor.error(400, "INVALID_ARGUMENT", "Invalid value", "message.data[0].value")
    fcm.before = partial(at_sending, said)
    assert outcome_of(provider) == Rejected("INVALID_ARGUMENT", "Invalid value")


def test_retry_after_is_heard(fcm: vendor.FCM, provider: FCM) -> None:
    for status, code in ((429, "429"), (503, "503")):
        said = Said(status, b"", {"Retry-After": "30"})
        fcm.before = partial(at_sending, said)
        outcome = outcome_of(provider)
        assert isinstance(outcome, RetryLater)
        assert (outcome.code, outcome.after) == (code, timedelta(seconds=30))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Said(502, b"<html>"), Unsure("HTTP 502 Bad Gateway")),
        (Said(0, cut=True), Unsure("no answer: RemoteDisconnected")),
        (Said(404, b"<html>"), RetryLater("404", "Not Found")),
        (Said(400, b'{"error": []}'), RetryLater("400", "Bad Request")),
        (Said(400, b'{"error": {"details": ["?"]}}'), RetryLater("400", "Bad Request")),
        (Said(200, b"no json"), Accepted(None, "200")),
    ],
)
def test_what_googles_machines_answer(
    fcm: vendor.FCM, provider: FCM, said: Said, expected: Outcome
) -> None:
    fcm.before = partial(at_sending, said)
    assert outcome_of(provider) == expected


def test_one_token_serves_all_threads(fcm: vendor.FCM, provider: FCM) -> None:
    fcm.latency = 0.01
    messages = [make_message(Channel.PUSH) for _ in range(40)]
    outcomes = [outcome for _, outcome in provider.send(messages, always)]
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert len(fcm.tokens) == 1


def test_a_token_is_replaced_ahead_of_its_end_while_others_go_on(
    fcm: vendor.FCM, provider: FCM
) -> None:
    fcm.lasts = 200  # less than five minutes: due at once, and good all the same
    assert isinstance(outcome_of(provider), Accepted)
    fcm.lasts = 3599
    entered, leave = threading.Event(), threading.Event()

    def hold(asked: Asked) -> None:
        if asked.path == "/token":
            entered.set()
            leave.wait(5)

    fcm.before = hold
    refresher = threading.Thread(target=provider.check)
    refresher.start()
    assert entered.wait(5)
    began = time.monotonic()
    assert isinstance(outcome_of(provider), Accepted)
    assert time.monotonic() - began < 2
    leave.set()
    refresher.join()
    assert isinstance(outcome_of(provider), Accepted)
    assert len(fcm.tokens) == 2


def test_a_token_that_is_refused_is_replaced(fcm: vendor.FCM, provider: FCM) -> None:
    assert isinstance(outcome_of(provider), Accepted)
    fcm.tokens.clear()
    refused = outcome_of(provider)
    assert isinstance(refused, RetryLater)
    assert refused.code == "UNAUTHENTICATED"
    assert isinstance(outcome_of(provider), Accepted)


def test_a_key_for_apple_that_is_refused_does_not_cost_our_token(
    fcm: vendor.FCM, provider: FCM
) -> None:
    for _ in range(3):
        refused = outcome_of(provider, "apple")
        assert isinstance(refused, RetryLater)
        assert refused.code == "THIRD_PARTY_AUTH_ERROR"
    assert isinstance(outcome_of(provider), Accepted)
    assert len(fcm.tokens) == 1


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Said(400, {"error": "invalid_grant", "error_description": "No such account"}), "account"),
        (Said(500, b"oops"), "HTTP 500"),
        (Said(200, {"no": "token"}), "HTTP 200"),
        (Said(200, {"access_token": "a\r\nb"}), "HTTP 200"),
        (Said(0, cut=True), "no answer"),
    ],
)
def test_without_a_token_nothing_is_sent_and_it_is_tried_again(
    fcm: vendor.FCM, provider: FCM, said: Said, words: str
) -> None:
    fcm.before = lambda asked: said if asked.path == "/token" else None
    outcome = outcome_of(provider)
    assert isinstance(outcome, RetryLater)
    assert outcome.code == "token"
    assert words in outcome.reason
    assert not [asked for asked in fcm.asked if asked.path == SENDING]
    assert words in (provider.check() or "")


def test_who_waited_for_a_token_in_vain_does_not_ask_again(fcm: vendor.FCM, provider: FCM) -> None:
    def refuse(asked: Asked) -> Said:
        time.sleep(0.3)
        return Said(503, b"")

    fcm.before = refuse
    messages = [make_message(Channel.PUSH) for _ in range(8)]
    began = time.monotonic()
    outcomes = [outcome for _, outcome in provider.send(messages, always)]
    assert all(isinstance(outcome, RetryLater) for outcome in outcomes)
    assert time.monotonic() - began < 1.5
    assert len(fcm.asked) <= 4


def test_both_calls_together_keep_the_deadline(fcm: vendor.FCM, tmp_path: Path) -> None:
    settings = fcm.environment(tmp_path) | {"NOTIFIER_FCM_TIMEOUT_SECONDS": "2"}
    provider = FCM.from_environment(settings)
    assert provider is not None
    fcm.latency = 0.9  # each call stays within its half
    assert isinstance(outcome_of(provider), Accepted)
    provider.close()
    fcm.latency = 1.5
    began = time.monotonic()
    assert isinstance(outcome_of(provider), Unsure)
    assert time.monotonic() - began < provider.deadline.total_seconds() + 0.3
    provider.close()


def test_a_long_text_is_cut_to_what_fits(fcm: vendor.FCM, provider: FCM) -> None:
    assert isinstance(outcome_of(provider, parts={"text": "ü" * 5000}), Accepted)
    (sent,) = fcm.messages.values()
    assert sent["notification"]["body"].endswith("…")
    outcome = outcome_of(provider, parts={"text": "Due", "title": "x" * 5000})
    assert isinstance(outcome, Rejected)
    assert outcome.code == "too_long"


def test_other_kinds_of_addresses_are_left_to_others(provider: FCM) -> None:
    for address in ("apns:" + "ab" * 32, "token", '{"endpoint": "https://example.com"}'):
        assert provider.check_address(Channel.PUSH, address)
        ((_, outcome),) = provider.send([make_message(Channel.PUSH, address=address)], always)
        assert isinstance(outcome, Rejected)
        assert outcome.code == "invalid_address"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"project_id": None}, "project_id is missing"),
        ({"project_id": "../x"}, "project_id is no id"),
        ({"private_key": "?"}, "private_key is no PEM key"),
        ({"token_uri": "token"}, "token_uri is no URL"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(
    fcm: vendor.FCM, tmp_path: Path, changed: dict[str, object], words: str
) -> None:
    path = tmp_path / "account.json"
    path.write_text(json.dumps(fcm.account() | changed))
    with pytest.raises(SettingError) as caught:
        FCM.from_environment({"NOTIFIER_FCM_SERVICE_ACCOUNT_FILE": str(path)})
    assert caught.value.variable == "NOTIFIER_FCM_SERVICE_ACCOUNT_FILE"
    assert words in caught.value.expected


@pytest.mark.parametrize("text", ["", "[]", "no json"])
def test_a_file_that_is_no_account_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "account.json"
    path.write_text(text)
    with pytest.raises(SettingError, match="NOTIFIER_FCM_SERVICE_ACCOUNT_FILE"):
        FCM.from_environment({"NOTIFIER_FCM_SERVICE_ACCOUNT_FILE": str(path)})


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingError, match="NOTIFIER_FCM_SERVICE_ACCOUNT_FILE"):
        FCM.from_environment({"NOTIFIER_FCM_SERVICE_ACCOUNT_FILE": "/nowhere"})
    assert FCM.from_environment({}) is None
