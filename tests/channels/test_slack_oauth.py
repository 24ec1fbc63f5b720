"""Connecting a Slack workspace, against a stand-in that answers as Slack does."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from notifier.channels import slack_oauth
from notifier.channels.oauth import NoGrant, challenge
from notifier.channels.slack_oauth import SlackOAuth
from notifier.errors import SettingError
from tests.vendors import oauth as vendor
from tests.vendors.oauth import query_of
from tests.vendors.server import Said

BACK = "https://notify.example.org/oauth/slack/callback"
STATE, VERIFIER = "s" * 43, "v" * 43


@pytest.fixture
def slack() -> Iterator[vendor.Slack]:
    with vendor.Slack() as server:
        server.redirect_uris.add(BACK)
        yield server


@pytest.fixture
def oauth(slack: vendor.Slack) -> Iterator[SlackOAuth]:
    made = slack_oauth.from_environment(slack.environment(), f"{slack.url}/api")
    assert made is not None
    yield made
    made.close()


def code(slack: vendor.Slack, oauth: SlackOAuth) -> str:
    back = query_of(slack.consent(oauth.authorize(STATE, BACK, VERIFIER)))
    assert back["state"] == STATE
    return back["code"]


def test_the_address_is_slacks_own() -> None:
    environment = {"NOTIFIER_SLACK_CLIENT_ID": "1.2", "NOTIFIER_SLACK_CLIENT_SECRET": "s"}
    made = slack_oauth.from_environment(environment, "https://slack.com/api")
    assert made is not None
    address = made.authorize(STATE, BACK, VERIFIER)
    assert address.startswith("https://slack.com/oauth/v2/authorize?")
    assert query_of(address) == {
        "response_type": "code",
        "client_id": "1.2",
        "redirect_uri": BACK,
        "scope": "chat:write,chat:write.public",
        "state": STATE,
    }
    assert made.token_url == "https://slack.com/api/oauth.v2.access"
    assert made.revoke_url == "https://slack.com/api/auth.revoke"


def test_a_code_becomes_a_bots_tokens_and_the_workspaces_name(
    slack: vendor.Slack, oauth: SlackOAuth
) -> None:
    grant = oauth.exchange(code(slack, oauth), BACK, VERIFIER)
    assert slack.is_good(grant.access_token)
    assert grant.refresh_token is not None
    assert grant.lasts == timedelta(hours=12)
    assert grant.scopes == ("chat:write", "chat:write.public")
    assert (grant.account_id, grant.account_name) == ("T1", "Acme Inc.")
    assert not any(secret in repr(grant) for secret in slack.given)
    assert all("client_secret" not in each.form for each in slack.asked if each.body)


def test_without_token_rotation_a_token_lasts(slack: vendor.Slack, oauth: SlackOAuth) -> None:
    slack.lasts = None
    grant = oauth.exchange(code(slack, oauth), BACK, VERIFIER)
    assert (grant.refresh_token, grant.lasts) == (None, None)


def test_an_organisations_installation_is_named_by_it(
    slack: vendor.Slack, oauth: SlackOAuth
) -> None:
    slack.after = lambda _: Said(
        200,
        {
            "ok": True,
            "access_token": "xoxb-1",
            "team": None,
            "enterprise": {"id": "E1", "name": "Acme Group"},
            "is_enterprise_install": True,
        },
    )
    grant = oauth.exchange("any", BACK, VERIFIER)
    assert (grant.account_id, grant.account_name, grant.scopes) == ("E1", "Acme Group", ())


def test_a_refresh_token_is_good_once(slack: vendor.Slack, oauth: SlackOAuth) -> None:
    first = oauth.exchange(code(slack, oauth), BACK, VERIFIER)
    assert first.refresh_token is not None
    second = oauth.refresh(first.refresh_token)
    assert slack.is_good(second.access_token)
    with pytest.raises(NoGrant) as fault:
        oauth.refresh(first.refresh_token)
    assert (fault.value.code, fault.value.over) == ("invalid_refresh_token", True)


@pytest.mark.parametrize("error", ["invalid_refresh_token", "token_revoked", "account_inactive"])
def test_what_is_over(slack: vendor.Slack, oauth: SlackOAuth, error: str) -> None:
    slack.before = lambda _: Said(200, {"ok": False, "error": error})
    with pytest.raises(NoGrant) as fault:
        oauth.refresh("any")
    assert (fault.value.code, fault.value.over) == (error, True)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (Said(200, {"ok": False, "error": "bad_client_secret"}), "bad_client_secret"),
        (Said(200, {"ok": False, "error": "internal_error"}), "internal_error"),
        (Said(200, {"ok": False, "error": "<script>"}), "http_200"),
        (Said(200, {"ok": False}), "http_200"),
        (Said(429, {"ok": False, "error": "ratelimited"}), "ratelimited"),
        (Said(503, {"ok": False, "error": "token_revoked"}), "token_revoked"),
        (Said(200, b"<html>"), "http_200"),
        (Said(0, cut=True), "unreachable"),
    ],
)
def test_what_may_be_tried_again(
    slack: vendor.Slack, oauth: SlackOAuth, said: Said, code: str
) -> None:
    slack.before = lambda _: said
    with pytest.raises(NoGrant) as fault:
        oauth.refresh("a-refresh-token")
    assert (fault.value.code, fault.value.over) == (code, False)
    assert "a-refresh-token" not in str(fault.value)


@pytest.mark.parametrize(
    ("changed", "error"),
    [({"code": "x"}, "invalid_code"), ({"redirect_uri": BACK + "/"}, "bad_redirect_uri")],
)
def test_a_code_that_is_not_good_is_named(
    slack: vendor.Slack, oauth: SlackOAuth, changed: dict[str, str], error: str
) -> None:
    given = {"code": code(slack, oauth), "redirect_uri": BACK, "verifier": VERIFIER}
    with pytest.raises(NoGrant, match=error):
        oauth.exchange(**{**given, **changed})


def test_tokens_are_revoked_by_the_token_itself(slack: vendor.Slack, oauth: SlackOAuth) -> None:
    grant = oauth.exchange(code(slack, oauth), BACK, VERIFIER)
    assert oauth.revoke(grant.access_token, grant.refresh_token)
    assert not slack.is_good(grant.access_token)
    assert oauth.revoke(grant.access_token, None), "it was revoked before"
    slack.before = lambda _: Said(200, {"ok": False, "error": "internal_error"})
    assert not oauth.revoke(grant.access_token, None)
    slack.before = lambda _: Said(0, cut=True)
    assert not oauth.revoke(grant.access_token, None)


def test_half_of_the_client_is_a_wrong_setting() -> None:
    assert slack_oauth.from_environment({}, "https://slack.com/api") is None
    for given, missing in (slack_oauth.VARIABLES, slack_oauth.VARIABLES[::-1]):
        with pytest.raises(SettingError, match=f"^{missing}: expected a value") as fault:
            slack_oauth.from_environment({given: "x"}, "https://slack.com/api")
        assert fault.value.variable == missing


def test_the_challenge_is_that_of_the_rfc() -> None:
    # https://www.rfc-editor.org/rfc/rfc7636#appendix-B
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
