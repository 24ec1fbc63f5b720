"""Teams against a stand-in that checks cards as documented, over real TLS."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.channels import teams
from notifier.channels.teams import Teams
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.words import Channel
from tests.channels.conftest import Certificate, always, make_message
from tests.channels.stands import Stand
from tests.vendors import teams as vendor
from tests.vendors.server import Said

PUBLIC = "https://notify.example.com"


@contextmanager
def stand(folder: Path) -> Iterator[Stand]:
    certificate = Certificate(folder)
    with vendor.Teams(certificate.server_context(), certificate.path) as server:
        yield Stand(server.environment(), lambda: len(server.messages), server.address)


@pytest.fixture
def workflow(certificate: Certificate) -> Iterator[vendor.Teams]:
    with vendor.Teams(certificate.server_context(), certificate.path) as server:
        yield server


@pytest.fixture
def provider(workflow: vendor.Teams) -> Iterator[Teams]:
    made = Teams.from_environment(workflow.environment())
    assert made is not None
    yield made
    made.close()


def outcome_of(provider: Teams, address: str, **fields: object) -> Outcome:
    message = make_message(Channel.TEAMS, address=address, **fields)
    ((_, outcome),) = provider.send([message], always)
    return outcome


def texts(card: dict[str, object]) -> list[str]:
    body = card["body"]
    assert isinstance(body, list)
    return [block["inlines"][0]["text"] for block in body]


def test_a_card_arrives_and_counts_as_sent(workflow: vendor.Teams, provider: Teams) -> None:
    parts = {
        "title": "Due soon",
        "text": "One\ntwo\n\nthree **bold** [x](https://evil)",
        "url": PUBLIC,
    }
    outcome = outcome_of(provider, workflow.address, parts=parts)
    assert outcome == Accepted(raw="HTTP/1.1 202 Accepted")
    (card,) = workflow.messages.values()
    assert texts(card) == ["Due soon", "One", "two", "three **bold** [x](https://evil)"]
    assert [block["spacing"] for block in card["body"]] == ["Default", "Default", "None", "Default"]
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "Open", "url": PUBLIC}]
    (asked,) = workflow.asked
    assert asked.headers["content-type"] == "application/json; charset=utf-8"


def test_what_waits_for_an_answer_has_a_button_to_the_page(
    workflow: vendor.Teams, provider: Teams
) -> None:
    outcome_of(provider, workflow.address, acknowledge_url=f"{PUBLIC}/a/t")
    outcome_of(provider, workflow.address)
    waiting, plain = workflow.messages.values()
    (action,) = waiting["actions"]
    assert (action["title"], action["url"]) == ("Acknowledge", f"{PUBLIC}/a/t")
    assert "actions" not in plain


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://x/" + "a" * 2000])
def test_what_can_not_be_a_button_is_text(
    workflow: vendor.Teams, provider: Teams, url: str
) -> None:
    outcome_of(provider, workflow.address, parts={"text": "Look", "url": url})
    (card,) = workflow.messages.values()
    assert texts(card) == ["Look", url]
    assert "actions" not in card


@pytest.mark.parametrize("text", ["x" * 300_000, "ä€😀" * 50_000, "x\n" * 50_000, "\n" * 9 + "x"])
def test_a_text_of_any_length_makes_a_card_that_teams_takes(
    workflow: vendor.Teams, provider: Teams, text: str
) -> None:
    parts = {"title": "😀" * 5000, "text": text, "url": "https://x/" + "ä" * 1900}
    outcome = outcome_of(provider, workflow.address, parts=parts, acknowledge_url=PUBLIC)
    assert isinstance(outcome, Accepted)
    (asked,) = workflow.asked
    assert len(asked.body) <= teams.LONGEST
    (card,) = workflow.messages.values()
    if len(text) > 1000:
        assert texts(card)[-1].endswith("…")
        assert len(asked.body) > teams.LONGEST - 200


@given(st.text(max_size=400), st.text("ä\n\r\x0b *[", min_size=1, max_size=9000))
def test_no_text_makes_a_card_that_teams_refuses(title: str, text: str) -> None:
    if not text.strip():
        return
    body = teams.compose(make_message(parts={"title": title, "text": text}))
    assert len(body) <= teams.LONGEST
    assert vendor.problem_of(json.loads(body)) is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Said(200, b"1"), Accepted(raw="HTTP/1.1 200 OK")),
        (Said(202, b""), Accepted(raw="HTTP/1.1 202 Accepted")),
        (
            Said(429, b"", {"Retry-After": "12"}),
            RetryLater("429", "HTTP/1.1 429 Too Many Requests", after=timedelta(seconds=12)),
        ),
        (Said(503, b""), RetryLater("503", "HTTP/1.1 503 Service Unavailable")),
        (Said(408, b""), RetryLater("408", "HTTP/1.1 408 Request Timeout")),
        (Said(500, b""), Unsure("HTTP/1.1 500 Internal Server Error: no final answer")),
        (Said(502, b""), Unsure("HTTP/1.1 502 Bad Gateway: no final answer")),
        (Said(400, b"no card"), Rejected("400", "HTTP/1.1 400 Bad Request: no card")),
        (Said(403, b""), Rejected("403", "HTTP/1.1 403 Forbidden")),
        (
            Said(302, b"", {"Location": "https://example.com/"}),
            Rejected("redirect", "HTTP/1.1 302 Found: redirects are not followed"),
        ),
        (
            Said(200, b"Webhook message delivery failed with error: Microsoft Teams endpoint "
                 b"returned HTTP error 429 with ContextId tcid=1"),
            RetryLater("429", "Teams returned HTTP error 429"),
        ),
        (
            Said(200, b"Webhook message delivery failed with error: Microsoft Teams endpoint "
                 b"returned HTTP error 413 with ContextId tcid=1"),
            Rejected("413", "Teams returned HTTP error 413: Webhook message delivery failed with "
                     "error: Microsoft Teams endpoint returned HTTP error 413 with ContextId "
                     "tcid=1"),
        ),
        (Said(0, cut=True), Unsure("no answer: RemoteDisconnected")),
    ],
)  # fmt: skip
def test_what_the_answers_mean(
    workflow: vendor.Teams, provider: Teams, said: Said, expected: Outcome
) -> None:
    workflow.before = lambda _: said
    assert outcome_of(provider, workflow.address) == expected


@pytest.mark.parametrize("status", [404, 410])
def test_a_webhook_that_is_gone_retires_the_address(
    workflow: vendor.Teams, provider: Teams, status: int
) -> None:
    workflow.before = lambda _: Said(status, b"")
    outcome = outcome_of(provider, workflow.address)
    assert isinstance(outcome, Rejected)
    assert (outcome.code, outcome.address_dead) == (str(status), True)


def test_a_wrong_signature_is_refused_and_no_reason_holds_the_right_one(
    workflow: vendor.Teams, provider: Teams
) -> None:
    outcome = outcome_of(provider, workflow.address.replace("sig=", "sig=x"))
    assert isinstance(outcome, Rejected)
    assert (outcome.code, outcome.address_dead) == ("401", False)
    assert vendor.SIGNATURE not in outcome.reason


def test_a_server_that_is_away_is_tried_again(provider: Teams, workflow: vendor.Teams) -> None:
    port = workflow.url.rpartition(":")[2]
    outcome = outcome_of(provider, workflow.address.replace(f":{port}", ":1"))
    assert isinstance(outcome, RetryLater)
    assert outcome.code == "connect"


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/workflows/1",
        "https://logic.azure.com/workflows/1",
        "https://prod.logic.azure.com.example.com/",
        "https://prod.logic.azure.com@example.com/",
        "http://prod.logic.azure.com/workflows/1",
        "https://[::1]/",
        "https://.../",
    ],
)
def test_hosts_that_are_not_microsofts_are_refused(
    workflow: vendor.Teams, provider: Teams, address: str
) -> None:
    assert provider.check_address(Channel.TEAMS, address)
    outcome = outcome_of(provider, address)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "invalid_address"
    assert workflow.asked == []


@pytest.mark.parametrize(
    "host",
    ["prod-1.westeurope.logic.azure.com:443", "a.09.environment.api.powerplatform.com",
     "acme.webhook.office.com", "hooks.example.com", "a.b.corp.net"],
)  # fmt: skip
def test_microsofts_hosts_and_those_of_the_setting_are_taken(host: str) -> None:
    setting = {
        "NOTIFIER_TEAMS_ENABLED": "yes",
        "NOTIFIER_TEAMS_HOSTS": "Hooks.example.com,*.corp.net",
    }
    provider = Teams.from_environment(setting)
    assert provider is not None
    assert provider.check_address(Channel.TEAMS, f"https://{host}/workflows/1") is None
    provider.close()


def test_a_host_of_the_setting_may_not_lead_into_our_network(workflow: vendor.Teams) -> None:
    setting = {k: v for k, v in workflow.environment().items() if "NETWORKS" not in k}
    provider = Teams.from_environment(setting)
    assert provider is not None
    outcome = outcome_of(provider, workflow.address)
    assert isinstance(outcome, Rejected)
    assert (outcome.code, workflow.connections) == ("forbidden_address", 0)
    provider.close()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ENABLED", "maybe"),
        ("HOSTS", "https://example.com"),
        ("HOSTS", "*"),
        ("ALLOW_NETWORKS", "home"),
        ("CA_FILE", "/nonexistent"),
        ("TIMEOUT_SECONDS", "26"),
    ],
)
def test_a_setting_that_can_not_work_is_named(variable: str, value: str) -> None:
    name = f"NOTIFIER_TEAMS_{variable}"
    with pytest.raises(SettingError, match=name):
        Teams.from_environment({"NOTIFIER_TEAMS_ENABLED": "yes", name: value})
    assert Teams.from_environment({}) is None
