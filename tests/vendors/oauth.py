"""An authorization server as https://www.rfc-editor.org/rfc/rfc6749 has it, and Slack's.

It checks the client, the redirect URI, the state's presence and PKCE (RFC 7636, S256), lets each code
and each refresh token be used once, and ends what a second use may have stolen (RFC 9700, 4.14.2).
"""

import base64
import hashlib
import http.client
import secrets
import threading
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from notifier.channels.oauth import OAuth
from tests.vendors.server import Asked, Said, Vendor

CLIENT_ID, CLIENT_SECRET = "1234.5678", "a secret: with / and %"
SCOPES = ("post:write", "people:read")


@dataclass
class Account:
    """One consent, and what was given out for it. access, refresh: the tokens that are good."""

    id: str
    redirect_uri: str
    challenge: str | None
    name: str = "Acme Inc."
    access: set[str] = field(default_factory=set)
    refresh: set[str] = field(default_factory=set)


class AuthorizationServer(Vendor):
    """codes: those that can still be exchanged. given: every secret it ever gave out, with states and
    verifiers. account: who consents next. lasts: `expires_in`; None: tokens without end.
    denies: the answer to who is asked to consent. refreshes: how often tokens were refreshed.
    """

    takes_pkce: ClassVar[bool] = True
    authorize_path: ClassVar[str] = "/authorize"
    token_path: ClassVar[str] = "/token"
    revoke_path: ClassVar[str] = "/revoke"
    separator: ClassVar[str] = " "
    scopes: ClassVar[tuple[str, ...]] = SCOPES
    bad_code: ClassVar[str] = "invalid_grant"
    bad_redirect: ClassVar[str] = "invalid_grant"
    bad_refresh: ClassVar[str] = "invalid_grant"

    def __init__(self) -> None:
        super().__init__()
        self.codes: dict[str, Account] = {}
        self.used: dict[str, Account] = {}
        self.accounts: list[Account] = []
        self.given: set[str] = set()
        self.account = "T1"
        self.lasts: int | None = 43200
        self.denies: str | None = None
        self.refreshes = 0
        self.redirect_uris: set[str] = set()
        self._guard = threading.Lock()

    def oauth(self) -> OAuth:
        """What a provider of ours has to have to come here."""
        return OAuth(
            authorize_url=self.url + self.authorize_path,
            token_url=self.url + self.token_path,
            revoke_url=self.url + self.revoke_path,
            scopes=SCOPES,
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
        )

    def consent(self, authorize_url: str) -> str:
        """Follow the address as a person's browser does; where it is sent back to."""
        where = urlsplit(authorize_url)
        browser = http.client.HTTPConnection(where.netloc, timeout=10)
        with closing(browser):
            browser.request("GET", f"{where.path}?{where.query}")
            answer = browser.getresponse()
            assert answer.status == 302, answer.read()
            return str(answer.headers["Location"])

    def is_good(self, access_token: str) -> bool:
        return any(access_token in account.access for account in self.accounts)

    def answer(self, asked: Asked) -> Said:
        with self._guard:
            match (asked.method, asked.path):
                case ("GET", self.authorize_path):
                    return self._authorize(asked.query)
                case ("POST", self.token_path):
                    return self._token(asked)
                case ("POST", self.revoke_path):
                    return self._revoke(asked)
        return Said(404, {"error": "not_found"})

    def _authorize(self, query: Any) -> Said:
        if query.get("client_id") != CLIENT_ID or query.get("response_type") != "code":
            return Said(400, {"error": "unauthorized_client"})
        if query.get("redirect_uri") not in self.redirect_uris:
            return Said(400, {"error": "invalid_request"})
        if set(query.get("scope", "").split(self.separator)) != set(self.scopes):
            return Said(400, {"error": "invalid_scope"})
        challenge = query.get("code_challenge")
        if (challenge is not None) != self.takes_pkce:
            return Said(400, {"error": "pkce_not_allowed" if challenge else "invalid_request"})
        if self.takes_pkce and (query.get("code_challenge_method"), len(challenge)) != ("S256", 43):
            return Said(400, {"error": "invalid_request"})
        if len(query.get("state", "")) < 40:
            return Said(400, {"error": "invalid_request"})
        back = {"state": query["state"]}
        self.given.add(query["state"])
        if self.denies:
            back["error"] = self.denies
        else:
            back["code"] = self._secret("code")
            account = Account(self.account, query["redirect_uri"], challenge)
            self.codes[back["code"]] = account
            self.accounts.append(account)
        return Said(302, b"", {"Location": f"{query['redirect_uri']}?{urlencode(back)}"})

    def _is_client(self, asked: Asked) -> bool:
        scheme, _, pair = asked.headers.get("authorization", "").partition(" ")
        try:
            name, _, secret = base64.b64decode(pair).decode().partition(":")
        except ValueError:
            return False
        return (scheme, unquote(name), unquote(secret)) == ("Basic", CLIENT_ID, CLIENT_SECRET)

    def _token(self, asked: Asked) -> Said:
        if not self._is_client(asked):
            return self.refusal("invalid_client", 401)
        form = asked.form
        self.given |= {form[name] for name in ("code_verifier",) if name in form}
        match form.get("grant_type"):
            case "authorization_code":
                return self._exchange(form)
            case "refresh_token":
                return self._refresh(form)
        return self.refusal("unsupported_grant_type")

    def _exchange(self, form: dict[str, str]) -> Said:
        code = form.get("code", "")
        account = self.codes.pop(code, None)
        if account is None:
            if code in self.used:
                self._end(self.used[code])
            return self.refusal(self.bad_code)
        self.used[code] = account
        if form.get("redirect_uri") != account.redirect_uri:
            return self.refusal(self.bad_redirect)
        if account.challenge is not None:
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != account.challenge:
                return self.refusal("invalid_grant")
        elif "code_verifier" in form:
            return self.refusal("pkce_not_allowed")
        return Said(200, self.tokens(account))

    def _refresh(self, form: dict[str, str]) -> Said:
        token = form.get("refresh_token", "")
        for account in self.accounts:
            if token in account.refresh:
                account.refresh.remove(token)
                self.refreshes += 1
                return Said(200, self.tokens(account))
        for account in self.accounts:
            # Somebody used it before: who of both is the thief is not known.
            if token.startswith(f"refresh-{account.id}-"):
                self._end(account)
        return self.refusal(self.bad_refresh)

    def _revoke(self, asked: Asked) -> Said:
        if not self._is_client(asked):
            return self.refusal("invalid_client", 401)
        token = asked.form.get("token")
        for account in self.accounts:
            if token in account.access | account.refresh:
                self._end(account)
        return Said(200, b"")

    def _end(self, account: Account) -> None:
        account.access.clear()
        account.refresh.clear()

    def end_all(self) -> None:
        """Whoever owns the accounts takes their consent back."""
        for account in self.accounts:
            self._end(account)

    def tokens(self, account: Account) -> dict[str, Any]:
        made: dict[str, Any] = {
            "access_token": self._secret(f"access-{account.id}"),
            "token_type": "Bearer",
            "scope": self.separator.join(self.scopes),
        }
        account.access.add(made["access_token"])
        if self.lasts is not None:
            made |= {
                "expires_in": self.lasts,
                "refresh_token": self._secret(f"refresh-{account.id}"),
            }
            account.refresh.add(made["refresh_token"])
        return made

    def refusal(self, error: str, status: int = 400) -> Said:
        return Said(status, {"error": error, "error_description": "told to people"})

    def _secret(self, kind: str) -> str:
        made = f"{kind}-{secrets.token_urlsafe(24)}"
        self.given.add(made)
        return made


class Slack(AuthorizationServer):
    """https://docs.slack.dev/reference/methods/oauth.v2.access and its neighbour auth.revoke: refusals
    are 200, scopes are parted by commas, and PKCE is for apps that are public clients."""

    takes_pkce = False
    authorize_path = "/oauth/v2/authorize"
    token_path = "/api/oauth.v2.access"
    revoke_path = "/api/auth.revoke"
    separator = ","
    scopes = ("chat:write", "chat:write.public")
    bad_code, bad_redirect, bad_refresh = (
        "invalid_code",
        "bad_redirect_uri",
        "invalid_refresh_token",
    )

    def environment(self) -> dict[str, str]:
        return {
            "NOTIFIER_SLACK_CLIENT_ID": CLIENT_ID,
            "NOTIFIER_SLACK_CLIENT_SECRET": CLIENT_SECRET,
        }

    def tokens(self, account: Account) -> dict[str, Any]:
        return {
            "ok": True,
            **super().tokens(account),
            "token_type": "bot",
            "bot_user_id": "U0KRQLJ9H",
            "app_id": "A0KRD7HC3",
            "team": {"name": account.name, "id": account.id},
            "enterprise": None,
            "authed_user": {"id": "U1234"},
        }

    def refusal(self, error: str, status: int = 400) -> Said:
        return Said(200, {"ok": False, "error": error})

    def _revoke(self, asked: Asked) -> Said:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        for account in self.accounts:
            if token in account.access:
                self._end(account)
                return Said(200, {"ok": True, "revoked": True})
        return Said(200, {"ok": False, "error": "token_revoked"})


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))
