"""How a tenant connects a Slack workspace of its own.

https://docs.slack.dev/authentication/installing-with-oauth
https://docs.slack.dev/reference/methods/oauth.v2.access
https://docs.slack.dev/authentication/using-token-rotation
https://docs.slack.dev/reference/methods/auth.revoke

Where the app has token rotation on, an access token is good for twelve hours, and each refresh
token for one refresh; where it has not, there is no refresh token, and the access token lasts.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from notifier.channels import variables
from notifier.channels.api import content
from notifier.channels.oauth import Grant, NoGrant, OAuth, grant

if TYPE_CHECKING:
    import requests

CLIENT_ID = "NOTIFIER_SLACK_CLIENT_ID"
CLIENT_SECRET = "NOTIFIER_SLACK_CLIENT_SECRET"
VARIABLES = (CLIENT_ID, CLIENT_SECRET)

SCOPES = ("chat:write", "chat:write.public")
"""Post where the bot is a member, to people, and to public channels that it has not joined."""


class SlackOAuth(OAuth):
    """Slack's v2 flow: refusals are 200 with `ok` false, and scopes are parted by commas.

    No PKCE: https://docs.slack.dev/authentication/using-pkce has it for apps that were made public
    clients, for good; they send no secret and their refresh tokens end after thirty days. Of others
    Slack does not take it.
    """

    pkce = False
    scope_separator = ","
    over = frozenset(
        {"invalid_grant", "invalid_refresh_token", "token_revoked", "account_inactive"}
    )

    def read(self, answer: "requests.Response") -> Grant:
        given = content(answer)
        if given.get("ok") is not True:
            raise self.denial(answer, given.get("error"))
        # An organisation's installation has no team.
        where = _object(given.get("team")) or _object(given.get("enterprise"))
        return grant(
            given,
            str(given.get("scope") or "").split(","),
            where.get("id"),
            where.get("name"),
        )

    def revoke(self, access_token: str, refresh_token: str | None) -> bool:
        assert self.revoke_url is not None
        try:
            answer = self._post(self.revoke_url, {}, f"Bearer {access_token}")
        except NoGrant:
            return False
        given = content(answer)
        return given.get("revoked") is True or given.get("error") in self.over


def from_environment(environment: Mapping[str, str], base: str) -> SlackOAuth | None:
    """As the environment configures it; None where it does not.

    base: the address of Slack's API, such as https://slack.com/api; pages for people are beside it.
    """
    client = variables.together(environment, *VARIABLES)
    if client is None:
        return None
    return SlackOAuth(
        authorize_url=f"{base.removesuffix('/api')}/oauth/v2/authorize",
        token_url=f"{base}/oauth.v2.access",
        revoke_url=f"{base}/auth.revoke",
        scopes=SCOPES,
        client_id=client[0],
        client_secret=client[1],
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
