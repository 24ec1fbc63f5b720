"""The access token of a Google service account: asked for once, used by all threads of a process.

https://developers.google.com/identity/protocols/oauth2/service-account#httprest

A token lasts an hour. One thread asks for the next while the others go on with the one they have,
so a refresh holds nobody up; each process has a token of its own.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from notifier.channels import http
from notifier.channels.api import Api, content

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

AHEAD = 300.0
"""Seconds before its end in which a token is replaced."""


@dataclass(frozen=True, slots=True)
class Account:
    """What is needed of a service account's file."""

    project: str
    email: str
    key: Any = field(repr=False)
    key_id: str
    token_url: str

    @classmethod
    def read(cls, given: Any) -> "Account":
        """Of the file's JSON; ValueError says what is wrong with it."""
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        if not isinstance(given, Mapping):
            raise ValueError("no JSON object")
        names = ("project_id", "client_email", "private_key", "private_key_id", "token_uri")
        for name in names:
            if not isinstance(given.get(name), str) or not given[name]:
                raise ValueError(f"{name} is missing")
        project, email, pem, key_id, token_url = (given[name] for name in names)
        if not project.replace("-", "").replace(":", "").replace(".", "").isalnum():
            raise ValueError("project_id is no id of a project")
        try:
            http.target(token_url)
        except ValueError:
            raise ValueError("token_uri is no URL") from None
        try:
            key = load_pem_private_key(pem.encode(), None)
        except (ValueError, TypeError):
            raise ValueError("private_key is no PEM key") from None
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("private_key is no RSA key")
        return cls(project, email, key, key_id, token_url)


class Token:
    """The current token of an account. `get` may be called by threads.

    seconds: the longest `get` can take.
    """

    def __init__(self, account: Account, seconds: float) -> None:
        self._account = account
        self._seconds = seconds
        parts = urlsplit(account.token_url)
        self._path = parts.path
        self._api = Api(f"{parts.scheme}://{parts.netloc}", seconds)
        self._lock = threading.Lock()
        self._current: tuple[str, float] | None = None
        self._fault: tuple[Exception, float] | None = None

    def get(self) -> str:
        """Raises `http.NotSent` or `http.Unanswered` where there is none."""
        now = time.monotonic()
        current = self._current
        if current is not None and now < current[1] - AHEAD:
            return current[0]
        usable = current is not None and now < current[1]
        if not self._lock.acquire(blocking=not usable, timeout=-1 if usable else self._seconds):
            if usable and current is not None:
                return current[0]
            raise http.NotSent("token", "no answer in time")
        try:
            # Whoever waited takes what the one before brought, a failure as well.
            if self._current is not None and self._current is not current:
                return self._current[0]
            if self._fault is not None and self._fault[1] >= now:
                raise self._fault[0]
            try:
                self._current = self._ask()
            except (http.NotSent, http.Unanswered) as fault:
                self._fault = (fault, time.monotonic())
                if usable and current is not None:
                    return current[0]
                raise
            return self._current[0]
        finally:
            self._lock.release()

    def forget(self, token: str) -> None:
        """It was refused: the next `get` asks for another."""
        current = self._current
        if current is not None and current[0] == token:
            self._current = None

    def close(self) -> None:
        self._api.close()

    def _ask(self) -> tuple[str, float]:
        """A token, and when it ends (`time.monotonic`)."""
        import jwt

        now = int(time.time())
        claims = {
            "iss": self._account.email,
            "scope": SCOPE,
            "aud": self._account.token_url,
            "iat": now,
            "exp": now + 3600,
        }
        assertion = jwt.encode(
            claims, self._account.key, algorithm="RS256", headers={"kid": self._account.key_id}
        )
        asked = time.monotonic()
        form = {"grant_type": GRANT, "assertion": assertion}
        answer = self._api.call("POST", self._path, data=form)
        given = content(answer)
        token, lasts = given.get("access_token"), given.get("expires_in")
        if not answer.ok or not isinstance(token, str) or not token.isprintable():
            words = given.get("error_description") or given.get("error") or answer.reason
            raise http.NotSent("token", f"HTTP {answer.status_code}: {words}"[:300])
        return token, asked + (lasts if isinstance(lasts, int | float) else 3600)
