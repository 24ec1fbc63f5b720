"""APNs against a real HTTP/2 server that checks what Apple checks."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from notifier.channels import http2
from notifier.channels.apns import TOKEN_STANDS, APNs
from notifier.channels.contract import Message
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.words import Channel
from tests.channels.conftest import Certificate, always, make_message
from tests.channels.http_server import HttpServer
from tests.channels.stands import Stand
from tests.vendors import apns as vendor
from tests.vendors.apns import DEVICE, Fault
from tests.vendors.tokens import unpadded


@contextmanager
def stand(folder: Path) -> Iterator[Stand]:
    with vendor.APNs() as server:
        yield Stand(server.environment(folder), lambda: len(server.messages), f"apns:{DEVICE}")


@pytest.fixture
def apns() -> Iterator[vendor.APNs]:
    with vendor.APNs() as server:
        yield server


@pytest.fixture
def provider(apns: vendor.APNs, tmp_path: Path) -> Iterator[APNs]:
    made = APNs.from_environment(apns.environment(tmp_path))
    assert made is not None
    yield made
    made.close()


@pytest.fixture
def hasty(provider: APNs) -> APNs:
    """One that gives up soon."""
    provider.deadline = timedelta(seconds=0.5)
    return provider


def push(device: str = DEVICE, **fields: object) -> Message:
    return make_message(Channel.PUSH, address=f"apns:{device}", **fields)


def outcome_of(provider: APNs, device: str = DEVICE, **fields: object) -> Outcome:
    ((_, outcome),) = provider.send([push(device, **fields)], always)
    return outcome


def outcomes_of(provider: APNs, count: int) -> list[Outcome]:
    """In the order of what was sent: the numbers of the requests are 1, 3, 5, … on a connection."""
    messages = [push() for _ in range(count)]
    came = {message.delivery_id: outcome for message, outcome in provider.send(messages, always)}
    return [came[message.delivery_id] for message in messages]


def test_a_message_goes_out_with_its_headers_and_payload(apns: vendor.APNs, provider: APNs) -> None:
    expires = datetime.now(UTC) + timedelta(minutes=10)
    message = push(
        DEVICE.upper(),
        parts={"title": "Fällig", "text": "Grüße", "url": "https://example.com/1"},
        acknowledge_url="https://notify.example.com/a/1",
        expires_at=expires,
        urgent=True,
    )
    ((_, outcome),) = provider.send([message], always)
    delivery = str(message.delivery_id)
    assert outcome == Accepted(delivery, "HTTP/2 200")
    headers, payload = apns.messages[delivery]
    assert headers[":path"] == f"/3/device/{DEVICE}"
    assert headers["apns-topic"] == vendor.TOPIC
    assert headers["apns-push-type"] == "alert"
    assert headers["apns-priority"] == "10"
    assert abs(int(headers["apns-expiration"]) - expires.timestamp()) < 3
    assert headers["apns-collapse-id"] == unpadded(message.delivery_id.bytes)
    assert payload == {
        "aps": {
            "alert": {"title": "Fällig", "body": "Grüße"},
            "sound": "default",
            "interruption-level": "time-sensitive",
        },
        "delivery_id": delivery,
        "url": "https://example.com/1",
        "acknowledge_url": "https://notify.example.com/a/1",
    }


def test_a_plain_message_waits_for_weeks_and_asks_for_nothing(
    apns: vendor.APNs, provider: APNs
) -> None:
    outcome_of(provider, parts={"text": "Due", "collapse_key": "build"})
    ((headers, payload),) = apns.messages.values()
    assert headers["apns-priority"] == "10"
    assert int(headers["apns-expiration"]) - time.time() > 27 * 86400
    assert len(headers["apns-collapse-id"]) == 32
    assert payload["aps"] == {"alert": {"body": "Due"}, "sound": "default"}


@pytest.mark.parametrize(
    ("text", "badge"), [("3", 3), ("0", 0), ("99999", 99999), ("", None), ("many", None)]
)
def test_a_badge_is_a_number_on_the_icon(
    apns: vendor.APNs, provider: APNs, text: str, badge: int | None
) -> None:
    assert isinstance(outcome_of(provider, parts={"text": "Due", "badge": text}), Accepted)
    ((_, payload),) = apns.messages.values()
    assert payload["aps"].get("badge") == badge
    assert ("badge" in payload["aps"]) is (badge is not None)


def test_it_is_spoken_to_over_tls(certificate: Certificate, tmp_path: Path) -> None:
    with vendor.APNs(certificate.server_context()) as server:
        settings = server.environment(tmp_path) | {"NOTIFIER_APNS_CA_FILE": certificate.path}
        provider = APNs.from_environment(settings)
        assert provider is not None
        assert provider.check() is None
        assert all(isinstance(outcome, Accepted) for outcome in outcomes_of(provider, 40))
        provider.close()
        assert server.connections == 1
        stranger = APNs.from_environment(server.environment(tmp_path))
        assert stranger is not None
        outcome = outcome_of(stranger)
        assert isinstance(outcome, RetryLater)
        assert outcome.code == "tls"


def test_a_server_of_http_1_is_no_push_service(certificate: Certificate, tmp_path: Path) -> None:
    with vendor.APNs() as unused, HttpServer(certificate.server_context()) as server:
        settings = unused.environment(tmp_path) | {
            "NOTIFIER_APNS_API_URL": server.url(""),
            "NOTIFIER_APNS_CA_FILE": certificate.path,
        }
        provider = APNs.from_environment(settings)
        assert provider is not None
        assert outcome_of(provider) == RetryLater("protocol", "the server does not speak HTTP/2")
        assert provider.check() == "the server does not speak HTTP/2"


def test_many_requests_share_one_connection_at_once(apns: vendor.APNs, provider: APNs) -> None:
    apns.latency = 0.05
    began = time.monotonic()
    assert all(isinstance(outcome, Accepted) for outcome in outcomes_of(provider, 96))
    assert time.monotonic() - began < 96 * 0.05 / 4
    assert apns.connections == 1
    assert apns.most == 32


def test_it_keeps_to_what_the_server_takes_at_once(apns: vendor.APNs, tmp_path: Path) -> None:
    apns.streams = 3
    # Long enough that the third is asked for before the first is answered, on a busy machine too.
    apns.latency = 0.3
    provider = APNs.from_environment(apns.environment(tmp_path))
    assert provider is not None
    assert all(isinstance(outcome, Accepted) for outcome in outcomes_of(provider, 12))
    provider.close()
    assert apns.most == 3


def test_bodies_that_fill_the_window_wait_for_it_to_open(apns: vendor.APNs, provider: APNs) -> None:
    messages = [push(parts={"text": "x" * 5000}) for _ in range(100)]
    outcomes = [outcome for _, outcome in provider.send(messages, always)]
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert len(outcomes) == 100
    assert all(len(request.body) == 4096 for request in apns.requests)


@pytest.mark.parametrize("device", vendor.REFUSED)
def test_a_refusal_means_what_apples_table_says(provider: APNs, device: str) -> None:
    status, reason = vendor.REFUSED[device]
    line = f"HTTP/2 {status}"
    expected: dict[str, Outcome] = {
        # Of the other environment as likely as of none.
        "BadDeviceToken": Rejected(reason, line),
        "Unregistered": Rejected(reason, line, address_dead=True),
        "ExpiredToken": Rejected(reason, line, address_dead=True),
        "DeviceTokenNotForTopic": Rejected(reason, line),
        "TooManyRequests": RetryLater(reason, line, throttled=True),
        "TooManyProviderTokenUpdates": RetryLater(reason, line, timedelta(minutes=20), True),
        "InternalServerError": Unsure("HTTP/2 500 InternalServerError"),
        "ServiceUnavailable": RetryLater(reason, line, timedelta(minutes=15)),
        "Shutdown": RetryLater(reason, line),
        "TopicDisallowed": RetryLater(reason, line),
        "SomethingNew": RetryLater(reason, line),
    }
    assert outcome_of(provider, device) == expected[reason]


def test_a_wrong_key_is_no_fault_of_the_message(
    apns: vendor.APNs, provider: APNs, tmp_path: Path
) -> None:
    settings = apns.environment(tmp_path) | {"NOTIFIER_APNS_TEAM_ID": "ZZZZZZZZZZ"}
    stranger = APNs.from_environment(settings)
    assert stranger is not None
    assert outcome_of(stranger) == RetryLater("InvalidProviderToken", "HTTP/2 403")
    stranger.close()


def test_workers_say_the_same_and_change_it_every_forty_minutes(
    apns: vendor.APNs, provider: APNs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = int(time.time()) // TOKEN_STANDS * TOKEN_STANDS
    clock = [float(began)]
    monkeypatch.setattr("notifier.channels.apns.time.time", lambda: clock[0])
    apns.now = lambda: clock[0]
    for minutes, tokens in ((0, 1), (20, 1), (39.9, 1), (40, 2), (79, 2), (81, 3)):
        clock[0] = began + minutes * 60
        assert isinstance(outcome_of(provider), Accepted), minutes
        assert len(apns.tokens) == tokens
    other = APNs.from_environment(apns.environment(tmp_path))
    assert other is not None
    assert isinstance(outcome_of(other), Accepted)
    other.close()
    mine, theirs = (token.split(".")[1] for token in apns.tokens[-2:])
    assert mine == theirs, "the claims of two processes are the same"


def test_what_the_server_did_not_look_at_is_sent_again(apns: vendor.APNs, provider: APNs) -> None:
    """Of five that are under way, a GOAWAY names the second: those after it will not be."""
    assert isinstance(outcome_of(provider), Accepted)
    apns.latency = 0.02
    apns.fault = lambda request: (
        Fault(goaway=5, words='{"reason":"Shutdown"}')
        if (request.number, request.connection) == (3, 1)
        else None
    )
    outcomes = outcomes_of(provider, 5)
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 2 + [RetryLater] * 3
    refused = outcomes[2]
    assert isinstance(refused, RetryLater)
    assert refused.code == "goaway"
    assert "Shutdown" in refused.reason
    assert isinstance(outcome_of(provider), Accepted)
    assert apns.connections == 2


def test_more_than_is_under_way_outlives_a_goaway(apns: vendor.APNs, provider: APNs) -> None:
    apns.latency = 0.01
    apns.fault = lambda request: (
        Fault(goaway=2**31 - 1) if (request.number, request.connection) == (7, 1) else None
    )
    assert all(isinstance(outcome, Accepted) for outcome in outcomes_of(provider, 100))
    assert apns.connections == 2


def test_what_may_have_been_looked_at_is_unsure(apns: vendor.APNs, provider: APNs) -> None:
    assert isinstance(outcome_of(provider), Accepted)
    apns.latency = 0.02
    apns.fault = lambda request: Fault(cut=True) if request.connection == 1 else None
    outcomes = outcomes_of(provider, 3)
    assert outcomes == [Unsure("no answer: the server closed the connection")] * 3
    assert isinstance(outcome_of(provider), Accepted)
    assert apns.connections == 2


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (7, RetryLater("refused", "the server refused the stream")),
        (2, Unsure("no answer: the stream was reset")),
        (8, Unsure("no answer: the stream was reset")),
    ],
)
def test_a_stream_that_is_reset_harms_no_other(
    apns: vendor.APNs, provider: APNs, code: int, expected: Outcome
) -> None:
    apns.fault = lambda request: Fault(reset=code) if request.number == 3 else None
    one, two, three = outcomes_of(provider, 3)
    assert two == expected
    assert isinstance(one, Accepted)
    assert isinstance(three, Accepted)
    assert apns.connections == 1


def test_an_answer_that_does_not_come_costs_its_own_message_only(
    apns: vendor.APNs, hasty: APNs
) -> None:
    assert isinstance(outcome_of(hasty), Accepted)
    apns.fault = lambda request: Fault(silent=True) if request.number == 3 else None
    began = time.monotonic()
    one, two = outcomes_of(hasty, 2)
    assert one == Unsure("no answer: the total deadline has passed")
    assert isinstance(two, Accepted)
    assert 0.4 < time.monotonic() - began < 1.5
    assert isinstance(outcome_of(hasty), Accepted)
    assert apns.connections == 1


def test_an_answer_is_read_however_late_the_reader_comes(apns: vendor.APNs, hasty: APNs) -> None:
    assert isinstance(outcome_of(hasty), Accepted)
    answers = hasty.send([push() for _ in range(20)], always)
    first = next(answers)
    time.sleep(0.8)
    rest = list(answers)
    assert [type(outcome) for _, outcome in [first, *rest]] == [Accepted] * 20


def test_before_it_is_known_one_request_is_let_in(apns: vendor.APNs, provider: APNs) -> None:
    apns.latency = 0.05
    answers = provider.send([push() for _ in range(10)], always)
    next(answers)
    assert len(apns.requests) == 1
    assert len(list(answers)) == 9
    assert apns.most == 9


def test_a_server_that_says_nothing_at_all_is_given_up_once(
    apns: vendor.APNs, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        settings = apns.environment(tmp_path) | {"NOTIFIER_APNS_API_URL": url}
        provider = APNs.from_environment(settings)
        assert provider is not None
        provider.deadline = timedelta(seconds=0.3)
        began = time.monotonic()
        outcomes = outcomes_of(provider, 20)
        assert outcomes == [RetryLater("settings", "the server said no hello in time")] * 20
        assert time.monotonic() - began < 1


def test_a_server_that_is_not_there_is_tried_once_for_all(
    apns: vendor.APNs, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    provider = APNs.from_environment(apns.environment(tmp_path) | {"NOTIFIER_APNS_API_URL": url})
    assert provider is not None
    for outcome in outcomes_of(provider, 3):
        assert isinstance(outcome, RetryLater)
        assert outcome.code == "connect"
    assert provider.check()


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\xff\xff\xff\x00\x00\x00\x00\x00\x00" * 9,
        b"\x00\x00\x03\x04\x00\x00\x00\x00\x00abc",
        b"\x00\x00\x02\x07\x00\x00\x00\x00\x00ab",
        b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + bytes(8),
        b"",
    ],
)
def test_rubbish_is_no_answer(apns: vendor.APNs, tmp_path: Path, words: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(words)
                client.recv(65536)

        thread = threading.Thread(target=speak)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        settings = apns.environment(tmp_path) | {"NOTIFIER_APNS_API_URL": url}
        provider = APNs.from_environment(settings)
        assert provider is not None
        provider.deadline = timedelta(seconds=1)
        outcome = outcome_of(provider)
        provider.close()
        thread.join()
    assert isinstance(outcome, RetryLater | Unsure)


def test_a_quiet_connection_is_asked_whether_it_lives(
    apns: vendor.APNs, provider: APNs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(outcome_of(provider), Accepted)
    monkeypatch.setattr(http2, "IDLE", 0.0)
    assert isinstance(outcome_of(provider), Accepted)
    assert apns.connections == 1


def test_a_connection_that_died_quietly_is_replaced(
    apns: vendor.APNs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands between forgot it: nothing comes back, not even an answer to a ping."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        thread = threading.Thread(target=lambda: held.append(mute.accept()[0]))
        held: list[socket.socket] = []
        thread.start()
        settings = apns.environment(tmp_path) | {"NOTIFIER_APNS_API_URL": url}
        provider = APNs.from_environment(settings)
        assert provider is not None
        opened = threading.Timer(0.1, lambda: held[0].sendall(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])))
        opened.start()
        assert provider.check() is None
        thread.join()
        opened.join()
    monkeypatch.setattr(http2, "IDLE", 0.0)
    monkeypatch.setattr(http2, "PATIENCE", 0.2)
    other = APNs.from_environment(apns.environment(tmp_path))
    assert other is not None
    other._connection = provider._connection
    assert isinstance(outcome_of(other), Accepted)
    assert apns.connections == 1
    other.close()
    held[0].close()


def test_a_reader_that_leaves_lets_what_is_under_way_finish(
    apns: vendor.APNs, provider: APNs
) -> None:
    apns.latency = 0.05
    assert isinstance(outcome_of(provider), Accepted)
    answers = provider.send([push() for _ in range(100)], always)
    next(answers)
    answers.close()
    assert len(apns.messages) == 33
    assert isinstance(outcome_of(provider), Accepted)
    assert apns.connections == 1


def test_a_long_text_is_cut_to_what_fits(apns: vendor.APNs, provider: APNs) -> None:
    assert isinstance(outcome_of(provider, parts={"text": "ü" * 5000}), Accepted)
    ((_, payload),) = apns.messages.values()
    assert payload["aps"]["alert"]["body"].endswith("…")
    outcome = outcome_of(provider, parts={"text": "Due", "title": "x" * 5000})
    assert isinstance(outcome, Rejected)
    assert outcome.code == "too_long"


def test_other_kinds_of_addresses_are_left_to_others(provider: APNs) -> None:
    for address in ("fcm:token", DEVICE, '{"endpoint": "https://example.com"}'):
        assert provider.check_address(Channel.PUSH, address)
        ((_, outcome),) = provider.send([make_message(Channel.PUSH, address=address)], always)
        assert isinstance(outcome, Rejected)
        assert outcome.code == "invalid_address"


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("KEY_FILE", "", "because of"),
        ("KEY_FILE", "/nowhere", "a file"),
        ("KEY_ID", "", "because of"),
        ("KEY_ID", "short", "10 letters"),
        ("TEAM_ID", "", "because of"),
        ("TEAM_ID", "a b c d e ", "10 letters"),
        ("TOPIC", "", "because of"),
        ("API_URL", "api.push.apple.com", "URL"),
        ("CA_FILE", "/nowhere", "a file"),
        ("CONCURRENCY", "501", "1 to 500"),
        ("TIMEOUT_SECONDS", "0", "1 to 25"),
    ],
)
def test_a_wrong_setting_is_named(
    apns: vendor.APNs, tmp_path: Path, setting: str, value: str, expected: str
) -> None:
    name = f"NOTIFIER_APNS_{setting}"
    with pytest.raises(SettingError) as caught:
        APNs.from_environment(apns.environment(tmp_path) | {name: value})
    assert caught.value.variable == name
    assert expected in caught.value.expected


@pytest.mark.parametrize("setting", ["KEY_FILE", "CA_FILE"])
def test_a_file_that_holds_something_else_is_named(
    apns: vendor.APNs, tmp_path: Path, setting: str
) -> None:
    (tmp_path / "other").write_text("something else")
    name = f"NOTIFIER_APNS_{setting}"
    with pytest.raises(SettingError, match=name):
        APNs.from_environment(apns.environment(tmp_path) | {name: str(tmp_path / "other")})


def test_without_a_key_it_is_not_configured() -> None:
    assert APNs.from_environment({}) is None
