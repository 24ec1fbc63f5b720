"""Slack against a stand-in that checks what Slack checks."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.channels import slack_blocks
from notifier.channels.contract import Acknowledged, Call, Forged, Misunderstood
from notifier.channels.slack import DEAD, HOOK_DEAD, HOOK_NEVER, NEVER, Slack
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.words import Channel
from tests.channels.conftest import always, make_message
from tests.channels.stands import Stand
from tests.vendors import slack as vendor
from tests.vendors.server import Said

PUBLIC = "https://notify.example.com"
HOOK = f"https://hooks.slack.com{vendor.HOOK}"


@contextmanager
def stand(_: Path) -> Iterator[Stand]:
    with vendor.Slack() as server:
        yield Stand(server.environment(), lambda: len(server.messages))


@pytest.fixture
def slack() -> Iterator[vendor.Slack]:
    with vendor.Slack() as server:
        yield server


@pytest.fixture
def provider(slack: vendor.Slack) -> Iterator[Slack]:
    made = Slack.from_environment(slack.environment())
    assert made is not None
    yield made
    made.close()


def outcome_of(provider: Slack, **fields: object) -> Outcome:
    ((_, outcome),) = provider.send([make_message(Channel.SLACK, **fields)], always)
    return outcome


def test_a_message_is_posted_with_its_parts_escaped(slack: vendor.Slack, provider: Slack) -> None:
    parts = {"title": "Due <soon>", "text": "R&D: 3 > 2", "url": "https://example.com/t?a=1&b=<2>"}
    message = make_message(Channel.SLACK, parts=parts)
    ((_, outcome),) = provider.send([message], always)
    ((ts, sent),) = slack.messages.items()
    assert outcome == Accepted(f"{vendor.CHANNEL}:{ts}", "ok", delivered=True)
    assert sent["channel"] == vendor.CHANNEL
    assert sent["text"] == "Due &lt;soon&gt;\nR&amp;D: 3 &gt; 2"
    assert [block["text"]["text"] for block in sent["blocks"]] == [
        "Due &lt;soon&gt;",
        "R&amp;D: 3 &gt; 2",
        "<https://example.com/t?a=1&amp;b=&lt;2&gt;|Open>",
    ]
    assert [block["type"] for block in sent["blocks"]] == ["header", "section", "section"]
    assert sent["client_msg_id"] == str(message.delivery_id)
    assert sent["metadata"]["event_payload"] == {"id": str(message.delivery_id)}


@pytest.mark.parametrize("address", ["#general", "G0123456789", "D0123456789", "U0123456789"])
def test_names_groups_and_people_are_addresses_too(provider: Slack, address: str) -> None:
    assert isinstance(outcome_of(provider, address=address), Accepted)


def test_a_repeat_of_a_delivery_is_known_by_its_id(slack: vendor.Slack, provider: Slack) -> None:
    again = uuid.uuid4()
    slack.after = lambda _: Said(0, cut=True)
    first = outcome_of(provider, delivery_id=again)
    assert first == Unsure("no answer: RemoteDisconnected")
    slack.after = lambda _: None
    assert isinstance(outcome_of(provider, delivery_id=again, attempt=2), Accepted)
    assert len(slack.messages) == 1


def test_what_waits_for_an_answer_has_a_button_and_a_link(
    slack: vendor.Slack, provider: Slack
) -> None:
    url = f"{PUBLIC}/a/token"
    message = make_message(Channel.SLACK, acknowledge_url=url)
    list(provider.send([message], always))
    (sent,) = slack.messages.values()
    *_, links, actions = sent["blocks"]
    assert links["text"]["text"] == f"<{url}|Acknowledge in the browser>"
    (button,) = actions["elements"]
    assert (button["action_id"], button["value"]) == ("acknowledge", str(message.delivery_id))
    outcome_of(provider)
    *_, plain = slack.messages.values()
    assert "acknowledge" not in json.dumps(plain).lower()


def test_without_a_signing_secret_only_the_link_acknowledges(slack: vendor.Slack) -> None:
    without = {k: v for k, v in slack.environment().items() if "SIGNING" not in k}
    provider = Slack.from_environment(without)
    assert provider is not None
    outcome_of(provider, acknowledge_url=f"{PUBLIC}/a/token")
    (sent,) = slack.messages.values()
    assert [block["type"] for block in sent["blocks"]] == ["header", "section", "section"]
    assert sent["blocks"][-1]["text"]["text"] == f"<{PUBLIC}/a/token|Acknowledge>"
    provider.close()


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://x/a|b", "https://x/" + "&" * 400])
def test_what_can_not_be_a_link_is_text(slack: vendor.Slack, provider: Slack, url: str) -> None:
    assert isinstance(outcome_of(provider, parts={"text": "Look", "url": url}), Accepted)
    (sent,) = slack.messages.values()
    assert len(sent["blocks"]) == 1
    assert sent["blocks"][0]["text"]["text"] == f"Look\n{slack_blocks.escape(url)}"


@pytest.mark.parametrize(
    "text",
    [
        "&" * 200_000,
        "word " * 60_000,
        "line\n" * 60_000,
        "\n\n".join(["x" * 2999] * 70),
        "<" * 3001,
    ],
)
def test_a_text_of_any_length_makes_blocks_that_slack_takes(
    slack: vendor.Slack, provider: Slack, text: str
) -> None:
    parts = {"title": "&" * 400, "text": text, "url": "https://example.com/"}
    outcome = outcome_of(provider, parts=parts, acknowledge_url=f"{PUBLIC}/a/t")
    assert isinstance(outcome, Accepted)
    (sent,) = slack.messages.values()
    assert len(sent["text"]) <= 4000
    assert sent["blocks"][-1]["type"] == "actions"


@given(st.text(min_size=1, max_size=400), st.text("&<> \nx", min_size=1, max_size=9000))
def test_no_text_makes_blocks_that_slack_refuses(title: str, text: str) -> None:
    if not text.strip():
        return
    message = make_message(Channel.SLACK, parts={"title": title, "text": text})
    made = slack_blocks.compose(message, button=True)
    assert vendor.problem_of(made["blocks"]) is None


def test_a_long_text_loses_nothing_while_there_is_room() -> None:
    text = "\n".join(f"line {n} & more" for n in range(2000))
    made = slack_blocks.compose(make_message(parts={"text": text}), button=False)
    joined = "\n".join(block["text"]["text"] for block in made["blocks"])
    assert joined == slack_blocks.escape(text)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (vendor.ARCHIVED, Rejected("is_archived", "is_archived", address_dead=True)),
        (vendor.FOREIGN, Rejected("not_in_channel", "not_in_channel")),
        ("C0UNKNOWN00", Rejected("channel_not_found", "channel_not_found")),
    ],
)
def test_a_refusal_keeps_slacks_code(provider: Slack, address: str, expected: Outcome) -> None:
    assert outcome_of(provider, address=address) == expected


@pytest.mark.parametrize("code", sorted(NEVER | DEAD))
def test_what_is_refused_for_good_is_not_tried_again(
    slack: vendor.Slack, provider: Slack, code: str
) -> None:
    slack.before = lambda _: Said(200, {"ok": False, "error": code})
    assert outcome_of(provider) == Rejected(code, code, address_dead=code == "is_archived")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"error": "invalid_auth"}, RetryLater("invalid_auth", "invalid_auth")),
        ({"error": "account_inactive"}, RetryLater("account_inactive", "account_inactive")),
        ({"error": "token_revoked"}, RetryLater("token_revoked", "token_revoked")),
        (
            {"error": "missing_scope", "needed": "chat:write"},
            RetryLater("missing_scope", "missing_scope; needs chat:write"),
        ),
        ({"error": "something_new"}, RetryLater("something_new", "something_new")),
        (
            {"error": "service_unavailable"},
            RetryLater("service_unavailable", "service_unavailable"),
        ),
        ({"error": "internal_error"}, Unsure("internal_error")),
        ({"error": "fatal_error"}, Unsure("fatal_error")),
        (
            {
                "error": "invalid_blocks",
                "response_metadata": {"messages": ["[ERROR] must be less than 151 characters"]},
            },
            Rejected("invalid_blocks", "invalid_blocks; [ERROR] must be less than 151 characters"),
        ),
        ({}, Unsure("the answer does not say what became of it")),
    ],
)
def test_what_slack_says_under_200(
    slack: vendor.Slack, provider: Slack, said: dict[str, object], expected: Outcome
) -> None:
    slack.before = lambda _: Said(200, {"ok": False, **said})
    assert outcome_of(provider) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            Said(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "30"}),
            RetryLater(
                "429", "HTTP 429 Too Many Requests", after=timedelta(seconds=30), throttled=True
            ),
        ),
        (
            Said(200, {"ok": False, "error": "rate_limited"}, {"Retry-After": "2"}),
            RetryLater("rate_limited", "rate_limited", after=timedelta(seconds=2)),
        ),
        (Said(500, b"oops"), Unsure("HTTP 500 Internal Server Error")),
        (Said(503, b"oops"), RetryLater("503", "HTTP 503 Service Unavailable")),
        (Said(0, cut=True), Unsure("no answer: RemoteDisconnected")),
        (Said(200, b"no json"), Unsure("the answer does not say what became of it")),
        (Said(404, b"<html>"), RetryLater("404", "<html>")),
    ],
)
def test_what_slacks_machines_answer(
    slack: vendor.Slack, provider: Slack, said: Said, expected: Outcome
) -> None:
    slack.before = lambda _: said
    assert outcome_of(provider) == expected


def test_a_webhook_is_posted_to_without_the_token(slack: vendor.Slack, provider: Slack) -> None:
    outcome = outcome_of(provider, address=HOOK, acknowledge_url=f"{PUBLIC}/a/t")
    assert outcome == Accepted(raw="ok", delivered=True)
    (asked,) = slack.asked
    assert asked.path == vendor.HOOK
    assert "authorization" not in asked.headers
    assert asked.json["blocks"][-1]["type"] == "actions"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("T0/B0/archived", Rejected("channel_is_archived", "HTTP 410: channel_is_archived", True)),
        ("T0/B0/forbidden", Rejected("action_prohibited", "HTTP 403: action_prohibited")),
        ("T0/B0/nothing", Rejected("no_service", "HTTP 404: no_service", True)),
    ],
)
def test_a_webhooks_refusal_keeps_its_word(provider: Slack, path: str, expected: Outcome) -> None:
    address = f"https://hooks.slack.com/services/{path}"
    assert outcome_of(provider, address=address) == expected


@pytest.mark.parametrize("word", sorted(HOOK_NEVER | HOOK_DEAD))
def test_every_word_of_a_webhook_is_final(slack: vendor.Slack, provider: Slack, word: str) -> None:
    slack.before = lambda _: Said(400, word.encode())
    outcome = outcome_of(provider, address=HOOK)
    assert outcome == Rejected(word, f"HTTP 400: {word}", address_dead=word in HOOK_DEAD)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Said(404, b"<html>"), Rejected("404", "HTTP 404: <html>", address_dead=True)),
        (Said(410, b""), Rejected("410", "HTTP 410: ", address_dead=True)),
        (Said(400, b"something_new"), RetryLater("400", "HTTP 400: something_new")),
        (Said(500, b"rollup_error"), Unsure("HTTP 500 Internal Server Error")),
        (
            Said(429, b"rate_limited", {"Retry-After": "7"}),
            RetryLater(
                "429", "HTTP 429 Too Many Requests", after=timedelta(seconds=7), throttled=True
            ),
        ),
        (Said(0, cut=True), Unsure("no answer: RemoteDisconnected")),
    ],
)
def test_what_a_webhook_answers_besides(
    slack: vendor.Slack, provider: Slack, said: Said, expected: Outcome
) -> None:
    slack.before = lambda _: said
    assert outcome_of(provider, address=HOOK) == expected


def test_webhooks_alone_need_no_token_but_a_word(slack: vendor.Slack) -> None:
    setting = {"NOTIFIER_SLACK_WEBHOOKS": "yes", "NOTIFIER_SLACK_HOOKS_URL": slack.url}
    provider = Slack.from_environment(setting)
    assert provider is not None
    assert isinstance(outcome_of(provider, address=HOOK), Accepted)
    refused = outcome_of(provider)
    assert isinstance(refused, Rejected)
    assert (refused.code, refused.address_dead) == ("no_token", False)
    assert provider.check() is None
    provider.close()
    assert Slack.from_environment({}) is None


def test_a_tenants_own_workspace_is_posted_to_with_its_token(slack: vendor.Slack) -> None:
    """A client is configuration enough: each tenant has a token of its own, or none yet."""
    provider = Slack.from_environment(
        {
            "NOTIFIER_SLACK_CLIENT_ID": "1.2",
            "NOTIFIER_SLACK_CLIENT_SECRET": "secret",
            "NOTIFIER_SLACK_API_URL": f"{slack.url}/api",
        }
    )
    assert provider is not None
    assert provider.oauth is not None
    assert isinstance(outcome_of(provider, token=vendor.TOKEN), Accepted)
    refused = outcome_of(provider)
    assert isinstance(refused, Rejected)
    assert refused.code == "no_token"
    assert "no workspace is connected" in refused.reason
    provider.close()


def test_who_has_disconnected_is_not_spoken_for_by_the_installation(slack: vendor.Slack) -> None:
    """`#incidents` of its own workspace may be a channel of the installation's, too."""
    provider = Slack.from_environment(slack.environment() | {"NOTIFIER_SLACK_WEBHOOKS": "yes"})
    assert provider is not None
    assert isinstance(outcome_of(provider), Accepted)
    posted = len(slack.asked)
    refused = outcome_of(provider, token="")
    assert isinstance(refused, Rejected)
    assert refused.code == "no_token"
    assert len(slack.asked) == posted
    assert isinstance(outcome_of(provider, address=HOOK, token=""), Accepted)
    provider.close()


def test_a_tenants_token_goes_before_the_installations(slack: vendor.Slack) -> None:
    provider = Slack.from_environment(
        slack.environment() | {"NOTIFIER_SLACK_BOT_TOKEN": "xoxb-other"}
    )
    assert provider is not None
    assert isinstance(outcome_of(provider, token=vendor.TOKEN), Accepted)
    provider.close()


def test_a_token_slack_does_not_know_is_found_by_the_check(slack: vendor.Slack) -> None:
    provider = Slack.from_environment(
        slack.environment() | {"NOTIFIER_SLACK_BOT_TOKEN": "xoxb-other"}
    )
    assert provider is not None
    assert provider.check() == "invalid_auth"
    provider.close()


# Hearing


def call(body: bytes, headers: dict[str, str]) -> Call:
    named = {name.lower(): value for name, value in headers.items()}
    return Call("POST", f"{PUBLIC}/webhooks/slack", named, body)


def test_a_press_acknowledges_and_is_answered_with_200(provider: Slack) -> None:
    one, two = uuid.uuid4(), uuid.uuid4()
    heard = provider.hear(call(*vendor.pressed(str(one), str(two))))
    assert heard.facts == [Acknowledged(one, "button"), Acknowledged(two, "button")]
    assert (heard.status, heard.answer) == (200, "")


def test_other_buttons_of_the_app_are_none_of_ours(provider: Slack) -> None:
    heard = provider.hear(call(*vendor.pressed("approve", action="approve")))
    assert (heard.facts, heard.status) == ([], 200)


def test_the_question_whether_we_are_there_is_answered(provider: Slack) -> None:
    body = json.dumps({"type": "url_verification", "token": "t", "challenge": "3eZbrw1aB"}).encode()
    kind = {"Content-Type": "application/json"}
    heard = provider.hear(call(body, kind | vendor.signed(body)))
    assert (heard.facts, heard.answer, heard.media_type) == ([], "3eZbrw1aB", "text/plain")


def test_what_is_not_signed_with_the_apps_secret_is_forged(
    slack: vendor.Slack, provider: Slack
) -> None:
    body, headers = vendor.pressed(str(uuid.uuid4()))
    other, _ = vendor.pressed(str(uuid.uuid4()))
    stamp = {"X-Slack-Request-Timestamp": str(int(time.time()) + 1)}
    for bad in (
        call(*vendor.pressed("x", secret="another secret")),
        call(other, headers),
        call(body, headers | stamp),
        call(body, {**headers, "X-Slack-Signature": ""}),
        call(body, {**headers, "X-Slack-Signature": "é"}),
        call(body, {}),
        call(b"", {}),
    ):
        with pytest.raises(Forged, match="X-Slack-Signature"):
            provider.hear(bad)
    without = Slack.from_environment(
        {k: v for k, v in slack.environment().items() if "SIGNING" not in k}
    )
    assert without is not None
    with pytest.raises(Forged, match="NOTIFIER_SLACK_SIGNING_SECRET"):
        without.hear(call(body, headers))
    without.close()


@pytest.mark.parametrize("away", [-301, 302])
def test_a_signature_that_is_old_or_of_the_future_is_forged(provider: Slack, away: int) -> None:
    value = str(uuid.uuid4())
    assert provider.hear(call(*vendor.pressed(value, at=time.time() - 290))).facts
    with pytest.raises(Forged, match="X-Slack-Request-Timestamp"):
        provider.hear(call(*vendor.pressed(value, at=time.time() + away)))


@pytest.mark.parametrize("stamp", ["", "soon", "1e9", "-1", "9" * 5000, "١٢٣"])
def test_a_timestamp_that_is_none_is_forged(provider: Slack, stamp: str) -> None:
    from notifier.channels.slack import signature_of

    made = signature_of(b"x", stamp, vendor.SIGNING_SECRET)
    headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": made}
    with pytest.raises(Forged, match="X-Slack-Request-Timestamp"):
        provider.hear(call(b"x", headers))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"payload=",
        b"payload=[]",
        b"payload={",
        b"payload=" + b"[" * 100_000,
        b"payload=%7B%22type%22%3A%22view_submission%22%7D",
        b"payload=%7B%22type%22%3A%22block_actions%22%7D",
        b"\xff",
    ],
)
def test_what_is_signed_but_no_press_is_misunderstood(provider: Slack, body: bytes) -> None:
    with pytest.raises(Misunderstood):
        provider.hear(call(body, vendor.signed(body)))
    kind = {"Content-Type": "application/json"}
    with pytest.raises(Misunderstood):
        provider.hear(call(body, kind | vendor.signed(body)))


def test_a_button_of_ours_with_a_strange_value_is_misunderstood(provider: Slack) -> None:
    with pytest.raises(Misunderstood):
        provider.hear(call(*vendor.pressed("no delivery")))


def test_a_secret_without_a_way_to_post_is_named() -> None:
    with pytest.raises(SettingError, match="NOTIFIER_SLACK_BOT_TOKEN"):
        Slack.from_environment({"NOTIFIER_SLACK_SIGNING_SECRET": "s"})
    with pytest.raises(SettingError, match="NOTIFIER_SLACK_WEBHOOKS"):
        Slack.from_environment({"NOTIFIER_SLACK_WEBHOOKS": "maybe"})
