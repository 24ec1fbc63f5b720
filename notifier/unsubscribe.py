"""One-click unsubscribe links (RFC 8058): the delivery's id and a signature, nothing stored."""

import base64
import hmac
import uuid

from notifier import signing
from notifier.settings import settings

_SIGNED = 16
"""Bytes of the HMAC-SHA256 that a link carries."""
_PURPOSE = "unsubscribe"


def url(delivery_id: uuid.UUID) -> str | None:
    """The link for one delivery; None where no secret key is set to sign it with."""
    keys = signing.keys(_PURPOSE)
    if not keys:
        return None
    signature = hmac.digest(keys[0], delivery_id.bytes, "sha256")[:_SIGNED]
    token = base64.urlsafe_b64encode(delivery_id.bytes + signature).rstrip(b"=").decode()
    return f"{settings().public_url}/u/{token}"


def read(token: str) -> uuid.UUID | None:
    """The delivery a link was made for; None where it was not made by us."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    if len(raw) != 16 + _SIGNED:
        return None
    for key in signing.keys(_PURPOSE):
        signature = hmac.digest(key, raw[:16], "sha256")[:_SIGNED]
        if hmac.compare_digest(signature, raw[16:]):
            return uuid.UUID(bytes=raw[:16])
    return None
