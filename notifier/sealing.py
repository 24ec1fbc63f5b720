"""Secrets at rest: sealed by the installation's keys, each for one tenant, one row and one purpose.

Fernet knows no associated data, so whom a secret is for is sealed with it: a value that was copied
to another row or tenant does not open there.
"""

import json
import uuid
from functools import cache
from typing import TYPE_CHECKING

from notifier.errors import NotifierError, SettingError
from notifier.settings import settings

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

VARIABLE = "NOTIFIER_SECRET_KEYS"


class NoKey(SettingError):
    """There is no key to seal secrets with, or to open them."""

    def __init__(self) -> None:
        super().__init__(VARIABLE, "a key to keep secrets with (`notifier keys secret` prints one)")


class Unopened(NotifierError):
    """A sealed value does not open. The text says why, and quotes nothing of it."""


def seal(secret: str, *, tenant: uuid.UUID, row: uuid.UUID, purpose: str) -> str:
    """The secret sealed by the newest key, as ASCII text; raises `NoKey`."""
    plain = json.dumps([str(tenant), str(row), purpose, secret])
    return _keys()[0].encrypt(plain.encode()).decode()


def unseal(sealed: str, *, tenant: uuid.UUID, row: uuid.UUID, purpose: str) -> str:
    """The secret, where it was sealed for just these; raises `Unopened` or `NoKey`."""
    *whom, secret = json.loads(_open(sealed))
    if whom != [str(tenant), str(row), purpose]:
        raise Unopened("it was sealed for another tenant, row or purpose")
    return str(secret)


def reseal(sealed: str) -> str | None:
    """The same secret, for the same tenant, row and purpose, sealed by the newest key; None where
    that has sealed it already. Raises `Unopened` or `NoKey`."""
    from cryptography.fernet import InvalidToken, MultiFernet

    newest = _keys()[0]
    try:
        newest.decrypt(sealed.encode())
    except InvalidToken:
        pass
    else:
        return None
    try:
        return MultiFernet(_keys()).rotate(sealed.encode()).decode()
    except InvalidToken:
        raise Unopened(f"no key of {VARIABLE} opens it") from None


def _open(sealed: str) -> bytes:
    from cryptography.fernet import InvalidToken, MultiFernet

    try:
        return MultiFernet(_keys()).decrypt(sealed.encode())
    except InvalidToken:
        raise Unopened(f"no key of {VARIABLE} opens it") from None


@cache
def _keys() -> "tuple[Fernet, ...]":
    """The newest first."""
    from cryptography.fernet import Fernet

    words = [word.strip() for word in settings().secret_keys.split(",") if word.strip()]
    if not words:
        raise NoKey
    return tuple(Fernet(word) for word in words)
