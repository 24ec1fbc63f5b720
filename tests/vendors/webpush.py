"""A push service, and the browsers that subscribed to it.

Checks what RFC 8030 (headers), RFC 8292 (who sends) and RFC 8291 (what the browser can read) ask for;
the browser decrypts with primitives of its own, written from the RFCs.
"""

import hashlib
import hmac
import json
import re
import ssl
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vendors.server import Asked, Said, Vendor
from tests.vendors.tokens import decoded, unpadded, verified

SUBJECT = "mailto:ops@example.com"


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key, uncompressed."""
    return key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


class Browser:
    """A user agent with a subscription (RFC 8291, 2 and 3)."""

    def __init__(
        self, key: ec.EllipticCurvePrivateKey | None = None, secret: bytes | None = None
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.secret = secret or uuid.uuid4().bytes

    def subscription(self, endpoint: str) -> str:
        """What `JSON.stringify(subscription)` makes."""
        keys = {"p256dh": unpadded(point(self.key)), "auth": unpadded(self.secret)}
        return json.dumps({"endpoint": endpoint, "expirationTime": None, "keys": keys})

    def read(self, body: bytes) -> bytes:
        """Decrypt one record of aes128gcm."""
        salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        sender, record = body[21 : 21 + length], body[21 + length :]
        assert length == 65
        assert len(record) <= size
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        shared = self.key.exchange(ec.ECDH(), theirs)
        info = b"WebPush: info\x00" + point(self.key) + sender
        material = _expand(_extract(self.secret, shared), info, 32)
        secret = _extract(salt, material)
        key = _expand(secret, b"Content-Encoding: aes128gcm\x00", 16)
        nonce = _expand(secret, b"Content-Encoding: nonce\x00", 12)
        plain = AESGCM(key).decrypt(nonce, record, None).rstrip(b"\x00")
        assert plain[-1:] == b"\x02", "the last record ends so (RFC 8188, 2)"
        return plain[:-1]


def _extract(salt: bytes, material: bytes) -> bytes:
    return hmac.new(salt, material, hashlib.sha256).digest()


def _expand(key: bytes, info: bytes, length: int) -> bytes:
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()[:length]


@dataclass
class Pushed:
    """What a browser got. size: bytes of the encrypted body."""

    said: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    size: int = 0


class PushService(Vendor):
    """messages: what was taken, in order. gone: endpoints that expired."""

    def __init__(self, tls: ssl.SSLContext, ca_file: str) -> None:
        super().__init__(tls)
        self.messages: list[Pushed] = []
        self.gone: set[str] = set()
        self._ca_file = ca_file
        self._browsers: dict[str, tuple[Browser, str]] = {}
        self.key = ec.generate_private_key(ec.SECP256R1())

    def environment(self) -> dict[str, str]:
        """What points the provider here: the key its subscriptions were made for."""
        number = self.key.private_numbers().private_value.to_bytes(32, "big")
        return {
            "NOTIFIER_WEBPUSH_PRIVATE_KEY": unpadded(number),
            "NOTIFIER_WEBPUSH_SUBJECT": SUBJECT,
            "NOTIFIER_WEBPUSH_ALLOW_NETWORKS": "127.0.0.0/8",
            "NOTIFIER_WEBPUSH_CA_FILE": self._ca_file,
        }

    def subscribe(self) -> str:
        """A new browser's subscription, as an address."""
        browser, path = Browser(), f"/push/{uuid.uuid4()}"
        self._browsers[path] = (browser, unpadded(point(self.key)))
        return browser.subscription(self.url + path)

    def answer(self, asked: Asked) -> Said:
        if asked.path not in self._browsers:
            return Said(404, {"errno": 102, "message": "Invalid URL endpoint"})
        if asked.path in self.gone:
            return Said(410, {"errno": 103, "message": "Expired URL endpoint"})
        browser, key = self._browsers[asked.path]
        headers = asked.headers
        if asked.method != "POST" or headers.get("content-encoding") != "aes128gcm":
            return Said(400, b"unknown content coding")
        if not re.fullmatch(r"[0-9]{1,10}", headers.get("ttl", "")):
            return Said(400, b"a TTL is needed")
        if headers.get("urgency", "normal") not in ("very-low", "low", "normal", "high"):
            return Said(400, b"unknown urgency")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", headers.get("topic", "x")):
            return Said(400, b"not a topic")
        if len(asked.body) > 4096:
            return Said(413, b"Data payload too large")
        found = re.fullmatch(r"vapid t=([\w.-]+), ?k=([\w-]+)", headers.get("authorization", ""))
        if not found:
            return Said(401, b"no VAPID")
        if found[2] != key:
            return Said(403, b"the key does not correspond to the subscription")
        try:
            public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(found[2]))
            _, claims = verified(found[1], public)
        except ValueError as fault:
            return Said(401, str(fault).encode())
        if claims.get("aud") != self.url:
            return Said(401, b"the token is for another push service")
        if not time.time() < claims.get("exp", 0) <= time.time() + 24 * 3600:
            return Said(401, b"the token expired, or lasts longer than a day")
        said = json.loads(browser.read(asked.body))
        with self.lock:
            self.messages.append(Pushed(said, dict(headers), claims, len(asked.body)))
        return Said(201, b"", {"Location": f"{self.url}/message/{uuid.uuid4()}"})
