"""OAuth 2.0 towards a vendor: a tenant lets us use its account, and we get tokens for it.

https://www.rfc-editor.org/rfc/rfc6749 (4.1: codes, 5: answers, 6: refreshing)
https://www.rfc-editor.org/rfc/rfc7636 (PKCE, of which S256 alone is used)
https://www.rfc-editor.org/rfc/rfc7009 (revocation)

A provider that tenants can connect accounts to has an `OAuth` as its `oauth`. A vendor that answers
in a form of its own has a subclass, beside its provider.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlencode

from notifier.channels import http
from notifier.channels.api import Api, content

if TYPE_CHECKING:
    import requests

SECONDS = 10.0
"""The longest one question to a vendor takes."""

LONGEST = timedelta(days=3650)
"""What is said to be good for longer is taken to be good for this long."""

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a vendor granted.

    refresh_token: None where it gave none; of a refresh, where the one it was asked with lasts.
    lasts: how long the access token is good; None: until it is revoked.
    account_id, account_name: the account as the vendor calls it, where it tells.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    lasts: timedelta | None = None
    scopes: tuple[str, ...] = ()
    account_id: str | None = None
    account_name: str | None = None


class NoGrant(Exception):
    """No tokens came of it.

    code: the vendor's word for why, or `unreachable` where it gave no answer: a plain word, safe to
        show.
    over: what it was asked with is good for nothing any more; else another try may succeed.
    """

    def __init__(self, code: str, *, over: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.over = over


class OAuth:
    """One vendor's endpoints and what we are to it. Its methods may be called by threads.

    pkce: whether the vendor takes PKCE from a client that has a secret.
    over: its words for what was granted and is good no more, a token or a refresh token.
    """

    pkce: ClassVar[bool] = True
    over: ClassVar[frozenset[str]] = frozenset({"invalid_grant"})
    scope_separator: ClassVar[str] = " "

    def __init__(
        self,
        *,
        authorize_url: str,
        token_url: str,
        revoke_url: str | None,
        scopes: Sequence[str],
        client_id: str,
        client_secret: str,
    ) -> None:
        self.authorize_url = authorize_url
        self.token_url = token_url
        self.revoke_url = revoke_url
        self.scopes = tuple(scopes)
        self.client_id = client_id
        self._client_secret = client_secret

    @cached_property
    def _api(self) -> Api:
        # Made when it is needed: it loads the certificates to trust.
        return Api("", SECONDS)

    def authorize(self, state: str, redirect_uri: str, verifier: str) -> str:
        """Where whoever owns the account is sent to allow it.

        verifier: for PKCE, 43 to 128 characters; what is in the address is its hash.
        """
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.scope_separator.join(self.scopes),
            "state": state,
        }
        if self.pkce:
            query |= {"code_challenge": challenge(verifier), "code_challenge_method": "S256"}
        return f"{self.authorize_url}?{urlencode(query)}"

    def exchange(self, code: str, redirect_uri: str, verifier: str) -> Grant:
        """The tokens for a code that came back; raises `NoGrant`.

        redirect_uri, verifier: those that the code was asked for with.
        """
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        if self.pkce:
            form["code_verifier"] = verifier
        return self._ask(form)

    def refresh(self, refresh_token: str) -> Grant:
        """New tokens; raises `NoGrant`. A vendor may take the refresh token this once only."""
        return self._ask({"grant_type": "refresh_token", "refresh_token": refresh_token})

    def revoke(self, access_token: str, refresh_token: str | None) -> bool:
        """Have the vendor forget the tokens; whether it says that it has.

        RFC 7009, 2.1: with the refresh token goes the whole grant.
        """
        if self.revoke_url is None:
            return False
        kind = "access_token" if refresh_token is None else "refresh_token"
        form = {"token": refresh_token or access_token, "token_type_hint": kind}
        try:
            return bool(self._post(self.revoke_url, form).ok)
        except NoGrant:
            return False

    def close(self) -> None:
        """Give back connections."""
        if "_api" in self.__dict__:
            self._api.close()

    def read(self, answer: "requests.Response") -> Grant:
        """The grant in an answer of the token endpoint (RFC 6749, 5.1); raises `NoGrant`."""
        given = content(answer)
        if not answer.ok:
            raise self.denial(answer, given.get("error"))
        return grant(given, str(given.get("scope") or " ".join(self.scopes)).split())

    def denial(self, answer: "requests.Response", error: object) -> NoGrant:
        """What an answer without tokens means: of a machine in trouble nothing is over."""
        word = error if isinstance(error, str) and _WORD.fullmatch(error) else None
        busy = answer.status_code == 429 or answer.status_code >= 500
        over = word in self.over and not busy
        return NoGrant(word or f"http_{answer.status_code}", over=over)

    def _ask(self, form: Mapping[str, str]) -> Grant:
        return self.read(self._post(self.token_url, form))

    def _post(
        self, url: str, form: Mapping[str, str], authorization: str | None = None
    ) -> "requests.Response":
        headers = {
            "Authorization": authorization or self._basic(),
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        try:
            return self._api.call("POST", url, data=urlencode(form).encode(), headers=headers)
        except (http.NotSent, http.Unanswered):
            # Where it was refreshing, nobody knows whether the vendor has: the next try will tell.
            raise NoGrant("unreachable") from None

    def _basic(self) -> str:
        """RFC 6749, 2.3.1: both are encoded as in a form before they are joined."""
        pair = f"{quote(self.client_id, safe='')}:{quote(self._client_secret, safe='')}"
        return "Basic " + base64.b64encode(pair.encode()).decode()


def challenge(verifier: str) -> str:
    """RFC 7636, 4.2: the verifier's SHA-256 in base64url without padding."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def grant(
    given: Mapping[str, Any],
    scopes: Sequence[str],
    account_id: object = None,
    account_name: object = None,
) -> Grant:
    """The grant that fields named as in RFC 6749, 5.1 make; raises `NoGrant` without a token."""
    access, refresh = (_token(given.get(name)) for name in ("access_token", "refresh_token"))
    if access is None:
        raise NoGrant("no_access_token")
    return Grant(
        access,
        refresh,
        _lasts(given.get("expires_in")),
        tuple(scope for scope in scopes if _token(scope)),
        _name(account_id),
        _name(account_name),
    )


def _name(value: object) -> str | None:
    """An account's name or id as it may be kept."""
    return value[:200] if isinstance(value, str) and value and value.isprintable() else None


def _token(value: object) -> str | None:
    """RFC 6749, appendix A: visible characters; some of it will stand in a header."""
    return value if isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]+", value) else None


def _lasts(seconds: object) -> timedelta | None:
    """`expires_in`, which some vendors write as text."""
    if isinstance(seconds, bool) or not re.fullmatch(r"[0-9]{1,18}", str(seconds)):
        return None
    return min(timedelta(seconds=min(int(str(seconds)), 10**10)), LONGEST)
