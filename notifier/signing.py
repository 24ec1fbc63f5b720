"""Keys for what we sign ourselves: one a purpose, made from the installation's secret keys."""

import hashlib
from functools import cache

from notifier.settings import settings


@cache
def keys(purpose: str) -> tuple[bytes, ...]:
    """32 bytes for each secret key, the newest first; none where no secret key is set."""
    words = (word.strip() for word in settings().secret_keys.split(","))
    return tuple(hashlib.sha256(f"{purpose}:{word}".encode()).digest() for word in words if word)
