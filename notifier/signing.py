"""Keys to sign with: ours, one a purpose, from the secret keys, and those of endpoints."""

import base64
import binascii
import hashlib
from functools import cache

from notifier.settings import settings


@cache
def keys(purpose: str) -> tuple[bytes, ...]:
    """32 bytes for each secret key, the newest first; none where no secret key is set."""
    words = (word.strip() for word in settings().secret_keys.split(","))
    return tuple(hashlib.sha256(f"{purpose}:{word}".encode()).digest() for word in words if word)


def endpoint_keys(secrets: str) -> list[bytes]:
    """The keys of a webhook endpoint's secrets, as Standard Webhooks write them.

    secrets: `whsec_` and base64, several separated by blanks while one is being replaced.
    Raises ValueError for anything else.
    """
    return [_key(secret) for secret in secrets.split()]


def _key(secret: str) -> bytes:
    prefix, _, encoded = secret.partition("_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if prefix != "whsec" or not key:
        raise ValueError("a signing secret is not `whsec_` and base64")
    return key
