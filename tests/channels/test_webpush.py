"""Web Push against a push service that checks who sends, and browsers that decrypt what they get."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from notifier.channels import push
from notifier.channels.webpush import WebPush
from notifier.channels.webpush_encryption import LONGEST, encrypt
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.words import Channel
from tests.channels.conftest import Certificate, always, make_message
from tests.channels.stands import Stand
from tests.vendors.server import Said
from tests.vendors.tokens import decoded, unpadded
from tests.vendors.webpush import SUBJECT, Browser, PushService, point


@contextmanager
def stand(folder: Path) -> Iterator[Stand]:
    certificate = Certificate(folder)
    with PushService(certificate.server_context(), certificate.path) as server:
        yield Stand(server.environment(), lambda: len(server.messages), server.subscribe())


@pytest.fixture
def service(certificate: Certificate) -> Iterator[PushService]:
    with PushService(certificate.server_context(), certificate.path) as server:
        yield server


@pytest.fixture
def provider(service: PushService) -> Iterator[WebPush]:
    made = WebPush.from_environment(service.environment())
    assert made is not None
    yield made
    made.close()


def outcome_of(provider: WebPush, address: str, **fields: object) -> Outcome:
    message = make_message(Channel.PUSH, address=address, **fields)
    ((_, outcome),) = provider.send([message], always)
    return outcome


# RFC 8291, 5 and appendix A
AS_PRIVATE = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
UA_PRIVATE = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
UA_PUBLIC = (
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
)
SECRET, SALT = "BTBZMqHH6r4Tts7J_aSIgg", "DGv6ra1nlYgDCS1FRnbzlw"
ENCRYPTED = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz"
    "AC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def p256(number: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(decoded(number), "big"), ec.SECP256R1())


def test_the_example_of_the_rfc_comes_out_to_the_byte() -> None:
    words = b"When I grow up, I want to be a watermelon"
    browser = Browser(p256(UA_PRIVATE), decoded(SECRET))
    assert unpadded(point(browser.key)) == UA_PUBLIC
    made = encrypt(
        words, decoded(UA_PUBLIC), decoded(SECRET), own=p256(AS_PRIVATE), salt=decoded(SALT)
    )
    assert unpadded(made) == ENCRYPTED
    assert browser.read(decoded(ENCRYPTED)) == words


@given(st.binary(max_size=LONGEST))
def test_the_browser_reads_what_was_encrypted(content: bytes) -> None:
    browser = Browser()
    made = encrypt(content, point(browser.key), browser.secret)
    assert browser.read(made) == content
    assert len(made) <= 4096


def test_no_two_messages_share_a_key_or_a_salt() -> None:
    browser = Browser()
    one, two = (encrypt(b"x", point(browser.key), browser.secret) for _ in range(2))
    assert one[:16] != two[:16]
    assert one[21:86] != two[21:86]


def test_a_browser_gets_what_was_rendered(service: PushService, provider: WebPush) -> None:
    message = make_message(
        Channel.PUSH,
        address=service.subscribe(),
        parts={"title": "Fällig", "text": "Grüße & mehr", "url": "https://example.com/t/1"},
        acknowledge_url="https://notify.example.com/a/1",
        expires_at=datetime.now(UTC) + timedelta(minutes=10),
        urgent=True,
    )
    ((_, outcome),) = provider.send([message], always)
    assert outcome == Accepted(raw="HTTP/1.1 201 Created")
    (pushed,) = service.messages
    topic = unpadded(message.delivery_id.bytes)
    assert pushed.said == {
        "title": "Fällig",
        "body": "Grüße & mehr",
        "tag": topic,
        "delivery_id": str(message.delivery_id),
        "url": "https://example.com/t/1",
        "acknowledge_url": "https://notify.example.com/a/1",
    }
    assert pushed.headers["urgency"] == "high"
    assert pushed.headers["topic"] == topic
    assert 590 <= int(pushed.headers["ttl"]) <= 600
    assert pushed.claims["aud"] == service.url
    assert pushed.claims["sub"] == SUBJECT


@pytest.mark.parametrize(("text", "badge"), [("3", 3), ("0", 0), ("", None), ("1.5", None)])
def test_a_badge_is_a_number_for_the_service_worker(
    service: PushService, provider: WebPush, text: str, badge: int | None
) -> None:
    outcome_of(provider, service.subscribe(), parts={"text": "Due", "badge": text})
    (pushed,) = service.messages
    assert pushed.said.get("badge") == badge
    assert ("badge" in pushed.said) is (badge is not None)


def test_a_plain_message_waits_four_weeks_and_replaces_only_itself(
    service: PushService, provider: WebPush
) -> None:
    address, delivery = service.subscribe(), uuid.uuid4()
    for attempt, each in ((1, delivery), (2, delivery), (1, uuid.uuid4())):
        outcome_of(provider, address, parts={"text": "Due"}, delivery_id=each, attempt=attempt)
    one, again, other = service.messages
    assert (one.headers["ttl"], one.headers["urgency"]) == (str(28 * 86400), "normal")
    assert one.headers["topic"] == again.headers["topic"] != other.headers["topic"]
    assert set(one.said) == {"body", "tag", "delivery_id"}


def test_a_collapse_key_replaces_across_deliveries(service: PushService, provider: WebPush) -> None:
    address = service.subscribe()
    for key in ("build 7", "build 7", "ä" * 500):
        outcome_of(provider, address, parts={"text": "Red", "collapse_key": key})
    one, two, other = (pushed.headers["topic"] for pushed in service.messages)
    assert one == two != other
    assert len(other) == 32


def test_what_expired_is_for_those_who_are_there_now(
    service: PushService, provider: WebPush
) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    outcome_of(provider, service.subscribe(), parts={"text": "Due"}, expires_at=past)
    assert service.messages[0].headers["ttl"] == "0"


@pytest.mark.parametrize("letter", ["x", "ü", "\U0001f6a8", '"', "\ud800"])
def test_a_long_text_is_cut_to_what_fits(
    service: PushService, provider: WebPush, letter: str
) -> None:
    parts = {"title": "Report", "text": letter * 5000, "url": "https://example.com/1"}
    assert isinstance(outcome_of(provider, service.subscribe(), parts=parts), Accepted)
    (pushed,) = service.messages
    assert pushed.said["body"].endswith("…")
    assert pushed.said["url"] == parts["url"]
    assert 4096 - 4 * len(letter.encode("utf-8", "replace")) <= pushed.size <= 4096


def test_what_can_not_be_cut_is_refused_with_a_reason(
    service: PushService, provider: WebPush
) -> None:
    parts = {"title": "x" * 4000, "text": "Due"}
    outcome = outcome_of(provider, service.subscribe(), parts=parts)
    assert isinstance(outcome, Rejected)
    assert (outcome.code, outcome.address_dead) == ("too_long", False)
    assert "3993" in outcome.reason
    assert service.asked == []


def test_one_token_serves_a_push_service_for_hours(
    service: PushService, provider: WebPush, monkeypatch: pytest.MonkeyPatch
) -> None:
    def token() -> str:
        assert isinstance(outcome_of(provider, service.subscribe()), Accepted)
        return service.messages[-1].headers["authorization"]

    first = token()
    assert token() == first
    monkeypatch.setattr("notifier.channels.webpush.TOKEN_KEPT", timedelta())
    assert token() != first


def test_an_unknown_and_an_expired_subscription_are_dead(
    service: PushService, provider: WebPush
) -> None:
    known = service.subscribe()
    service.gone.add(json.loads(known)["endpoint"].removeprefix(service.url))
    unknown = Browser().subscription(f"{service.url}/push/nobody")
    for address, code in ((known, "410"), (unknown, "404")):
        outcome = outcome_of(provider, address)
        assert isinstance(outcome, Rejected)
        assert (outcome.code, outcome.address_dead) == (code, True)


def test_a_subscription_of_another_key_is_refused_and_lives(
    service: PushService, provider: WebPush
) -> None:
    address = service.subscribe()
    other = unpadded(
        ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32, "big")
    )
    stranger = WebPush.from_environment(
        service.environment() | {"NOTIFIER_WEBPUSH_PRIVATE_KEY": other}
    )
    assert stranger is not None
    outcome = outcome_of(stranger, address)
    stranger.close()
    assert isinstance(outcome, Rejected)
    assert (outcome.code, outcome.address_dead) == ("403", False)
    assert "another key" in outcome.reason


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Said(200, b""), Accepted(raw="HTTP/1.1 200 OK")),
        (Said(202, b""), Accepted(raw="HTTP/1.1 202 Accepted")),
        (
            Said(429, b"slow down", {"Retry-After": "90"}),
            RetryLater("429", "HTTP/1.1 429 Too Many Requests: slow down", timedelta(seconds=90)),
        ),
        (Said(503, b""), RetryLater("503", "HTTP/1.1 503 Service Unavailable")),
        (Said(401, b"clock"), RetryLater("401", "HTTP/1.1 401 Unauthorized: clock")),
        (Said(400, b""), Rejected("400", "the push service takes the request for wrong")),
        (Said(413, b""), Rejected("413", "the message is too long for this push service")),
        (
            Said(307, b"", {"Location": "https://127.0.0.1/"}),
            Rejected("redirect", "HTTP/1.1 307 Temporary Redirect: redirects are not followed"),
        ),
        (Said(500, b""), Unsure("HTTP/1.1 500 Internal Server Error")),
        (Said(502, b""), Unsure("HTTP/1.1 502 Bad Gateway")),
        (Said(418, b""), RetryLater("418", "HTTP/1.1 418 I'm a Teapot")),
        (Said(0, cut=True), Unsure("no answer: RemoteDisconnected")),
    ],
)
def test_what_a_push_service_answers(
    service: PushService, provider: WebPush, said: Said, expected: Outcome
) -> None:
    service.before = lambda _: said
    assert outcome_of(provider, service.subscribe()) == expected
    assert len(service.asked) == 1


def test_an_endpoint_inside_our_own_network_is_not_called(service: PushService) -> None:
    settings = service.environment() | {"NOTIFIER_WEBPUSH_ALLOW_NETWORKS": ""}
    provider = WebPush.from_environment(settings)
    assert provider is not None
    outcome = outcome_of(provider, service.subscribe())
    provider.close()
    assert isinstance(outcome, Rejected)
    assert (outcome.code, outcome.address_dead) == ("forbidden_address", False)
    assert service.connections == 0


def test_a_push_service_nobody_vouches_for_is_not_spoken_to(service: PushService) -> None:
    settings = service.environment()
    del settings["NOTIFIER_WEBPUSH_CA_FILE"]
    provider = WebPush.from_environment(settings)
    assert provider is not None
    outcome = outcome_of(provider, service.subscribe())
    provider.close()
    assert isinstance(outcome, RetryLater)
    assert outcome.code == "tls"
    assert service.asked == []


def test_other_kinds_of_addresses_are_left_to_others(
    service: PushService, provider: WebPush
) -> None:
    for address in ("fcm:token", "apns:" + "ab" * 32, "token"):
        assert provider.check_address(Channel.PUSH, address)
        outcome = outcome_of(provider, address)
        assert isinstance(outcome, Rejected)
        assert (outcome.code, outcome.address_dead) == ("invalid_address", False)
    assert provider.check_address(Channel.PUSH, service.subscribe()) is None


def test_without_a_text_there_is_nothing_to_push(service: PushService, provider: WebPush) -> None:
    outcome = outcome_of(provider, service.subscribe(), parts={"title": "Due"})
    assert outcome == Rejected("missing_part", "push needs the part `text`")


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("PRIVATE_KEY", "", "because of"),
        ("PRIVATE_KEY", "abc", "base64url"),
        ("PRIVATE_KEY", "A" * 43, "P-256"),
        ("PRIVATE_KEY", "é" * 43, "P-256"),
        ("SUBJECT", "", "because of"),
        ("SUBJECT", "ops@example.com", "mailto:"),
        ("SUBJECT", "mailto: ops@example.com", "mailto:"),
        ("ALLOW_NETWORKS", "here", "networks"),
        ("CA_FILE", "/nowhere", "a file"),
        ("CONCURRENCY", "0", "1 to 64"),
        ("TIMEOUT_SECONDS", "26", "1 to 25"),
    ],
)
def test_a_wrong_setting_is_named(
    service: PushService, setting: str, value: str, expected: str
) -> None:
    name = f"NOTIFIER_WEBPUSH_{setting}"
    with pytest.raises(SettingError) as caught:
        WebPush.from_environment(service.environment() | {name: value})
    assert caught.value.variable == name
    assert expected in caught.value.expected


def test_a_file_that_holds_no_certificates_is_named(service: PushService, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    name = "NOTIFIER_WEBPUSH_CA_FILE"
    with pytest.raises(SettingError, match=name):
        WebPush.from_environment(service.environment() | {name: str(tmp_path / "ca.pem")})


def test_without_keys_it_is_not_configured() -> None:
    assert WebPush.from_environment({}) is None


@given(st.text(max_size=60), st.integers(min_value=20, max_value=200))
def test_a_text_is_cut_as_little_as_can_be(text: str, limit: int) -> None:
    def build(text: str) -> dict[str, str]:
        return {"t": text}

    made = push.fitted(text, limit, build)
    assert made is not None
    assert len(push.packed(made)) <= limit
    if len(push.packed(build(text))) <= limit:
        assert made == build(text)
