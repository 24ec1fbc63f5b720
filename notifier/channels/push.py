"""What the push services have in common: forms of addresses, and what a message says to each.

An address says which service it belongs to: `fcm:` and a registration token, `apns:` and a device
token, or a Web Push subscription as a browser's `JSON.stringify(subscription)` writes it.
"""

import base64
import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from notifier.channels import http
from notifier.channels.contract import Message, Provider
from notifier.outcome import Rejected
from notifier.words import Channel

FCM, APNS = "fcm:", "apns:"

EXPECTED_FCM = "fcm: and a registration token"
EXPECTED_APNS = "apns: and a device token in hexadecimal"
EXPECTED_WEBPUSH = "a Web Push subscription as JSON, with endpoint, keys.p256dh and keys.auth"
EXPECTED = f"{EXPECTED_FCM}, {EXPECTED_APNS}, or {EXPECTED_WEBPUSH}"

LONGEST_KEPT = timedelta(weeks=4)
"""The longest a service keeps a message for a device that is away; FCM's limit
(https://firebase.google.com/docs/cloud-messaging/concept-options#ttl), taken for Web Push too."""

MOST_BADGE = 99_999
"""The highest number on an app's icon; no vendor names a limit, and no icon has room for more."""

_FCM = re.compile(r"fcm:([!-~]+)")
"""Google documents no form of its tokens."""

_APNS = re.compile(r"apns:((?:[0-9A-Fa-f]{2}){32,100})")
"""32 bytes today; Apple says that the length may change."""

_P256DH = re.compile(r"[A-Za-z0-9_-]{87}=?")
_AUTH = re.compile(r"[A-Za-z0-9_-]{22}(?:==)?")


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a browser is reached. key: its public key, a point on P-256 of 65 bytes. secret: 16
    bytes that only it and we know (RFC 8291, 3.2)."""

    to: http.Target
    key: bytes
    secret: bytes


def check(address: str) -> str | None:
    """What was expected, where `address` can not be one of any push service; else None."""
    if address.startswith(FCM):
        return None if fcm_token(address) else EXPECTED_FCM
    if address.startswith(APNS):
        return None if apns_token(address) else EXPECTED_APNS
    if not address.startswith("{"):
        return EXPECTED
    try:
        subscription(address)
    except ValueError as fault:
        return str(fault)
    return None


def fcm_token(address: str) -> str | None:
    """The registration token of an address of FCM's; None for any other."""
    found = _FCM.fullmatch(address)
    return found[1] if found else None


def apns_token(address: str) -> str | None:
    """The device token of an address of APNs', in lower case; None for any other."""
    found = _APNS.fullmatch(address)
    return found[1].lower() if found else None


@lru_cache(maxsize=4096)
def subscription(address: str) -> Subscription:
    """The subscription an address is; ValueError says what was expected instead."""
    try:
        given = json.loads(address)
        endpoint, keys = given["endpoint"], given["keys"]
        key, secret = keys["p256dh"], keys["auth"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(EXPECTED_WEBPUSH) from None
    try:
        to = http.target(endpoint)
        secure = to.secure
    except (ValueError, TypeError, AttributeError):
        secure = False
    if not secure:
        raise ValueError("a Web Push subscription whose endpoint is an https URL")
    if not isinstance(key, str) or not _P256DH.fullmatch(key) or not _is_point(_bytes(key)):
        raise ValueError(
            "a Web Push subscription whose keys.p256dh is an uncompressed point on P-256: "
            "87 characters of base64url"
        )
    if not isinstance(secret, str) or not _AUTH.fullmatch(secret):
        raise ValueError(
            "a Web Push subscription whose keys.auth is 16 bytes: 22 characters of base64url"
        )
    return Subscription(to, _bytes(key), _bytes(secret))


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))


def _is_point(key: bytes) -> bool:
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
    except ValueError:
        return False
    return len(key) == 65


def collapse(message: Message) -> str:
    """What a later message must carry to take the place of this one, in 32 characters of base64url
    at most: the part `collapse_key`, else the delivery, so that a repeat of it shows once.
    """
    key = message.parts.get("collapse_key")
    if key:
        made = hashlib.sha256(key.encode("utf-8", "replace")).digest()[:24]
    else:
        made = message.delivery_id.bytes
    return base64.urlsafe_b64encode(made).decode().rstrip("=")


def badge(text: str) -> int | None:
    """The number that the part `badge` came to; None for anything but a whole one that an icon can
    show."""
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(MOST_BADGE))
    return int(text) if is_number else None


def badge_of(message: Message) -> int | None:
    """The number to show on the app's icon; None: leave it as it is. What came to no such number is
    left out, for the message is worth more than its badge."""
    return badge(message.parts.get("badge", ""))


def seconds_left(message: Message, now: datetime) -> int:
    """How long a service should keep it for a device that is away."""
    if message.expires_at is None:
        return int(LONGEST_KEPT.total_seconds())
    return int(min(max(message.expires_at - now, timedelta()), LONGEST_KEPT).total_seconds())


def extras(message: Message) -> dict[str, str]:
    """What an app needs beside the text: which delivery it is, and where it leads."""
    given = {
        "delivery_id": str(message.delivery_id),
        "url": message.parts.get("url"),
        "acknowledge_url": message.acknowledge_url,
    }
    return {name: value for name, value in given.items() if value}


def said(
    provider: Provider, message: Message, limit: int, build: Callable[[str], Mapping[str, Any]]
) -> Mapping[str, Any] | Rejected:
    """What `build` makes of the message's text in at most `limit` bytes, or why the message can not
    be sent at all."""
    text = message.parts.get("text")
    if not text:
        return Rejected("missing_part", "push needs the part `text`")
    wrong = provider.check_address(Channel.PUSH, message.address)
    if wrong is not None:
        return Rejected("invalid_address", wrong)
    made = fitted(text, limit, build)
    if made is None:
        return Rejected("too_long", f"the title and the URLs alone take more than {limit} bytes")
    return made


def fitted(
    text: str, limit: int, build: Callable[[str], Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """What `build` makes of the text, cut so that it is `limit` bytes of JSON at most; None where
    not even an empty text would fit.
    """
    whole = build(text)
    if len(packed(whole)) <= limit:
        return whole
    text = text[:limit]
    fits = bisect_right(
        range(len(text)), limit, key=lambda kept: len(packed(build(text[:kept] + "…")))
    )
    return build(text[: fits - 1].rstrip() + "…") if fits else None


def packed(value: Mapping[str, Any]) -> bytes:
    """JSON in as few bytes as it can be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
