"""The webhook provider against a real server on loopback, which misbehaves as asked."""

import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from notifier.channels import http
from notifier.channels.webhook import Webhook, signature_headers
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.retry import LONGEST_WAIT
from notifier.words import Channel
from tests.channels import tricks
from tests.channels.conftest import SECRET, Certificate, always, make_message
from tests.channels.http_server import HttpServer, bomb
from tests.channels.smtp_server import SmtpServer
from tests.channels.stands import Stand

LOOPBACK = {"NOTIFIER_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8, ::1/128"}


@contextmanager
def stand(_: Path) -> Iterator[Stand]:
    with HttpServer() as server:
        environment = {"NOTIFIER_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8"}
        yield Stand(environment, lambda: len(server.requests), server.url("/"))


@pytest.fixture
def provider() -> Iterator[Webhook]:
    made = Webhook.from_environment(LOOPBACK | {"NOTIFIER_WEBHOOK_TIMEOUT_SECONDS": "1"})
    yield made
    made.close()


def outcome_of(provider: Webhook, address: str, **fields: object) -> Outcome:
    message = make_message(Channel.WEBHOOK, address=address, **fields)
    ((_, outcome),) = provider.send([message], always)
    return outcome


def test_a_signed_post_arrives(http_server: HttpServer, provider: Webhook) -> None:
    body = '{"name":"Ada Grüße"}'
    message = make_message(
        Channel.WEBHOOK,
        address=http_server.url("/hook?a=b c".replace(" ", "%20")),
        parts={"body": body},
    )
    ((_, outcome),) = provider.send([message], always)
    assert outcome == Accepted(raw="HTTP/1.1 200 OK", delivered=True)
    (request,) = http_server.requests
    assert request.line == "POST /hook?a=b%20c HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{http_server.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["webhook-id"] == str(message.delivery_id)
    verified = standardwebhooks.Webhook(SECRET).verify(request.body, request.headers)
    assert verified == json.loads(body)


def test_during_rotation_both_secrets_verify() -> None:
    other = "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    body = b'{"a":1}'
    headers = dict(signature_headers(f"{SECRET} {other}", "id-1", int(time.time()), body))
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, other):
        assert standardwebhooks.Webhook(secret).verify(body, headers) == {"a": 1}
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRET).verify(b'{"a":2}', headers)


def test_the_id_stays_and_the_timestamp_moves_over_attempts(
    http_server: HttpServer, provider: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_message(Channel.WEBHOOK, address=http_server.url("/"))
    moments = iter([1_000_000_000.0, 1_000_000_100.0])
    monkeypatch.setattr("notifier.channels.webhook.time.time", lambda: next(moments))
    for attempt in (1, 2):
        again = make_message(
            Channel.WEBHOOK,
            address=first.address,
            delivery_id=first.delivery_id,
            attempt=attempt,
        )
        list(provider.send([again], always))
    one, two = http_server.requests
    assert one.headers["webhook-id"] == two.headers["webhook-id"]
    assert int(two.headers["webhook-timestamp"]) - int(one.headers["webhook-timestamp"]) == 100


@pytest.mark.parametrize("secret", [None, "", "  ", "plain", "whsec_", "whsec_%%%", "whpk_QUJD"])
def test_nothing_leaves_unsigned(
    http_server: HttpServer, provider: Webhook, secret: str | None
) -> None:
    outcome = outcome_of(provider, http_server.url("/"), secret=secret)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "no_secret"
    assert not outcome.address_dead
    assert http_server.connections == 0


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(http_server: HttpServer, provider: Webhook, status: int) -> None:
    outcome = outcome_of(provider, http_server.url(f"/status/{status}"))
    assert isinstance(outcome, Accepted)
    assert outcome.delivered


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    http_server: HttpServer, provider: Webhook, status: int
) -> None:
    http_server.headers = {"Location": http_server.url("/elsewhere")}
    outcome = outcome_of(provider, http_server.url(f"/status/{status}"))
    assert isinstance(outcome, Rejected)
    assert (outcome.code, outcome.address_dead) == ("redirect", False)
    assert len(http_server.requests) == 1


def test_gone_retires_the_address(http_server: HttpServer, provider: Webhook) -> None:
    outcome = outcome_of(provider, http_server.url("/status/410"))
    assert isinstance(outcome, Rejected)
    assert outcome.address_dead


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 425, 429, 500, 502, 503, 504, 599])
def test_every_other_status_is_tried_again(
    http_server: HttpServer, provider: Webhook, status: int
) -> None:
    assert outcome_of(provider, http_server.url(f"/status/{status}")) == RetryLater(
        str(status), f"HTTP/1.1 {status} So"
    )


def test_retry_after_is_heard(http_server: HttpServer, provider: Webhook) -> None:
    http_server.headers = {"Retry-After": "120"}
    outcome = outcome_of(provider, http_server.url("/status/429"))
    assert isinstance(outcome, RetryLater)
    assert outcome.after == timedelta(seconds=120)


NOW = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("0", timedelta(0)),
        ("30", timedelta(seconds=30)),
        ("-5", timedelta(0)),
        ("1e9", LONGEST_WAIT),
        ("inf", LONGEST_WAIT),
        ("9" * 5000, LONGEST_WAIT),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), timedelta(minutes=5)),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), timedelta(0)),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), LONGEST_WAIT),
        ("Sat, 21 Nov 2026 05:10:00 -0000", timedelta(minutes=10)),
        ("Sat, 99 Foo 2026 05:00:00 GMT", None),
    ],
)
def test_retry_after_in_all_its_forms(value: str | None, wait: timedelta | None) -> None:
    assert http.retry_after(value, NOW, LONGEST_WAIT) == wait


@given(st.text(max_size=40))
def test_retry_after_is_bounded_whatever_it_says(value: str) -> None:
    wait = http.retry_after(value, NOW, LONGEST_WAIT)
    assert wait is None or timedelta(0) <= wait <= LONGEST_WAIT


SOON = 0.8


@pytest.fixture
def hasty(provider: Webhook) -> Webhook:
    """A provider that gives up soon."""
    provider.deadline = timedelta(seconds=SOON)
    return provider


def memory() -> int:
    """The most KiB this process, in which the server runs too, ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize(
    "path",
    [
        *(f"/line/{trick}" for trick in tricks.TRICKS),
        *(f"/head/{trick}" for trick in tricks.TRICKS if trick != tricks.CUT),
        *("/garbage", "/early", "/early-flood", "/switch"),
    ],
)
def test_no_answer_after_the_request_left_is_unsure(
    http_server: HttpServer, hasty: Webhook, path: str
) -> None:
    began, before = time.monotonic(), memory()
    assert isinstance(outcome_of(hasty, http_server.url(path)), Unsure)
    assert time.monotonic() - began < SOON + 1
    assert memory() - before < 32 << 10
    assert len(http_server.requests) == 1
    assert isinstance(outcome_of(hasty, http_server.url("/")), Accepted)
    assert http_server.connections == 2, "on a connection of its own"


@pytest.mark.parametrize(
    "path",
    [
        *(f"/body/{trick}" for trick in tricks.TRICKS),
        *(f"/chunk/{trick}" for trick in tricks.TRICKS),
        *(f"/trailer/{trick}" for trick in tricks.TRICKS),
        *(
            "/head/cut",
            "/huge",
            "/bomb",
            "/lies/1",
            "/lies/99",
            "/lies/-1",
            "/lies/x",
            "/lies/" + "9" * 5000,
        ),
    ],
)
def test_the_answer_counts_whatever_its_body_does(
    http_server: HttpServer, hasty: Webhook, path: str
) -> None:
    """The status line said it was taken: a body costs neither time nor memory, nor doubt."""
    bomb()  # packing it takes time and memory in the server, which is this process
    began, before = time.monotonic(), memory()
    assert isinstance(outcome_of(hasty, http_server.url(path)), Accepted)
    assert time.monotonic() - began < SOON + 1
    assert http_server.written < 32 << 20
    assert memory() - before < 32 << 10
    time.sleep(0.02)  # for a connection that is closed behind its answer
    assert isinstance(outcome_of(hasty, http_server.url("/")), Accepted)


def test_answers_that_come_before_the_final_one_are_not_taken_for_it(
    http_server: HttpServer, provider: Webhook
) -> None:
    for code in (200, 503, 200):
        outcome = outcome_of(provider, http_server.url(f"/early/{code}"))
        assert isinstance(outcome, Accepted if code == 200 else RetryLater)
    assert http_server.connections == 1


def test_an_endpoint_that_does_not_read_is_waited_for_no_longer_than_the_deadline(
    http_server: HttpServer, provider: Webhook
) -> None:
    http_server.deaf = True
    # Signing so much takes part of it.
    provider.deadline = timedelta(seconds=2)
    began = time.monotonic()
    outcome = outcome_of(provider, http_server.url("/"), parts={"body": "x" * (16 << 20)})
    assert outcome == RetryLater("connection", "the request could not be written: TimeoutError")
    assert 2 <= time.monotonic() - began < 3.5


@pytest.mark.parametrize("trick", [tricks.HANG, tricks.DRIP, tricks.CUT, tricks.RESET])
def test_the_deadline_holds_for_a_handshake(hasty: Webhook, trick: str) -> None:
    """Whoever answers in the clear where TLS is expected was not sent the request."""
    with SmtpServer() as server:
        server.will("GREETING", trick)
        began = time.monotonic()
        outcome = outcome_of(hasty, f"https://127.0.0.1:{server.port}/")
        assert isinstance(outcome, RetryLater)
        assert outcome.code in ("tls", "connect")
        assert time.monotonic() - began < SOON + 1


@pytest.mark.parametrize(("path", "connections"), [("/", 1), ("/chunked", 1), ("/close", 3)])
def test_connections_are_kept_where_the_server_keeps_them(
    http_server: HttpServer, provider: Webhook, path: str, connections: int
) -> None:
    for _ in range(3):
        assert isinstance(outcome_of(provider, http_server.url(path)), Accepted)
    assert http_server.connections == connections


def test_a_connection_the_server_closed_meanwhile_is_not_used(
    http_server: HttpServer, provider: Webhook
) -> None:
    outcome_of(provider, http_server.url("/"))
    http_server.hang_up()
    time.sleep(0.05)
    assert isinstance(outcome_of(provider, http_server.url("/")), Accepted)
    assert http_server.connections == 2


def test_nobody_listening_is_retried_later(provider: Webhook) -> None:
    outcome = outcome_of(provider, "http://127.0.0.1:1/")
    assert outcome == RetryLater(
        "connect", "no connection: ConnectionRefusedError (Connection refused)"
    )


def test_a_name_that_does_not_exist_is_retried_later(provider: Webhook) -> None:
    outcome = outcome_of(provider, "http://nothing.invalid/")
    assert isinstance(outcome, RetryLater)
    assert outcome.code == "resolve"


def test_https_is_verified_by_name(certificate: Certificate) -> None:
    quick = LOOPBACK | {"NOTIFIER_WEBHOOK_TIMEOUT_SECONDS": "1"}
    trusting = Webhook.from_environment(quick | {"NOTIFIER_WEBHOOK_CA_FILE": certificate.path})
    with HttpServer(certificate.server_context()) as server:
        assert isinstance(outcome_of(trusting, server.url("/", "localhost")), Accepted)
        assert server.server_names == ["localhost"]
        assert server.requests[0].headers["host"] == f"localhost:{server.port}"
        for made, host in (
            (trusting, "127.0.0.2"),
            (Webhook.from_environment(LOOPBACK), "localhost"),
        ):
            outcome = outcome_of(made, f"https://{host}:{server.port}/")
            assert isinstance(outcome, RetryLater)
            assert outcome.code in ("tls", "connect")
        assert len(server.requests) == 1
        outcome = outcome_of(trusting, server.url("/head/drip", "localhost"))
        assert isinstance(outcome, Unsure)
    trusting.close()


def test_the_environments_proxies_are_not_used(
    http_server: HttpServer, provider: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert isinstance(outcome_of(provider, http_server.url("/")), Accepted)


@pytest.mark.parametrize("path", ["/", "/slow"])
def test_as_many_are_under_way_as_the_server_needs(
    http_server: HttpServer, provider: Webhook, path: str
) -> None:
    url = http_server.url(path)
    messages = [make_message(Channel.WEBHOOK, address=url) for _ in range(200)]
    began = time.monotonic()
    outcomes = {m.delivery_id: outcome for m, outcome in provider.send(messages, always)}
    assert len(outcomes) == 200
    assert all(isinstance(outcome, Accepted) for outcome in outcomes.values())
    assert http_server.connections <= 8
    if path == "/slow":
        assert http_server.connections == 8
        assert time.monotonic() - began < 200 * 0.02 / 4


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "65"),
        ("TIMEOUT_SECONDS", "26"),
        ("ALLOW_NETWORKS", "127.0.0.1/8"),
        ("ALLOW_NETWORKS", "localhost"),
        ("CA_FILE", __file__),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingError) as caught:
        Webhook.from_environment({f"NOTIFIER_WEBHOOK_{variable}": value})
    assert caught.value.variable == f"NOTIFIER_WEBHOOK_{variable}"


def test_a_header_never_holds_a_line_break() -> None:
    client = http.Client()
    to = http.target("http://127.0.0.1:1/")
    for bad in ("a\r\nb", "a\nb", "a\rb"):
        with pytest.raises(ValueError, match="line break"):
            client.request("POST", to, [("X", bad)], b"", time.monotonic() + 1)
