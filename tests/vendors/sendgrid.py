"""SendGrid's v3 mail send, and its signed events.

As https://www.twilio.com/docs/sendgrid/api-reference/mail-send and its pages on errors and the
event webhook show them.
"""

import base64
import json
import re
import time
import uuid
from typing import Any

import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.vendors.server import Asked, Said, Vendor

KEY = "SG.key"
SENDER = "notify@example.org"

_FILE = {"content", "filename", "type", "disposition", "content_id"}


class SendGrid(Vendor):
    """messages: the bodies that were taken, by message id."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, dict[str, Any]] = {}
        self._signing = ec.generate_private_key(ec.SECP256R1())

    def environment(self) -> dict[str, str]:
        """What points the provider here."""
        return {
            "NOTIFIER_SENDGRID_API_KEY": KEY,
            "NOTIFIER_SENDGRID_FROM": f"Acme <{SENDER}>",
            "NOTIFIER_SENDGRID_VERIFICATION_KEY": self.verification_key(),
            "NOTIFIER_SENDGRID_API_URL": self.url,
        }

    def verification_key(self) -> str:
        der = self._signing.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(der).decode()

    def answer(self, asked: Asked) -> Said:
        if (asked.method, asked.path) != ("POST", "/v3/mail/send"):
            return _errors(404, "", "Not Found")
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            return _errors(401, "", "The provided authorization grant is invalid")
        if not asked.headers.get("content-type", "").startswith("application/json"):
            return _errors(415, "", "Content-Type should be application/json.")
        body = asked.json
        for place, personal in enumerate(body.get("personalizations") or [{}]):
            to = personal.get("to") or [{}]
            if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", to[0].get("email", "")):
                field = f"personalizations.{place}.to.0.email"
                return _errors(400, field, "Does not contain a valid address.")
            if not all(isinstance(v, str) for v in personal.get("custom_args", {}).values()):
                return _errors(400, "custom_args", "Bad Request")
        if body.get("from", {}).get("email") != SENDER:
            field = "from"
            return _errors(403, field, "The from address does not match a verified Sender Identity")
        if not body.get("subject"):
            return _errors(400, "subject", "The subject is required.")
        kinds = [part.get("type") for part in body.get("content") or []]
        if kinds != sorted(kinds, reverse=True) or not kinds:
            return _errors(400, "content", "text/plain must come first, text/html after it")
        if not all(part.get("value") for part in body["content"]):
            return _errors(400, "content.0.value", "must be a string of at least one character")
        for place, file in enumerate(body.get("attachments", [])):
            if not {"content", "filename"} <= set(file) <= _FILE:
                return _errors(400, f"attachments.{place}", "Bad Request")
            try:
                base64.b64decode(file["content"], validate=True)
            except ValueError:
                field = f"attachments.{place}.content"
                return _errors(400, field, "The attachment content must be base64 encoded.")
        sid = uuid.uuid4().hex[:22]
        with self.lock:
            self.messages[sid] = body
        return Said(202, b"", {"X-Message-Id": sid})

    def call_back(self, url: str, events: Any) -> requests.Response:
        body = json.dumps(events).encode()
        return requests.post(url, data=body, headers=self.signed(body), timeout=10)

    def signed(self, body: bytes) -> dict[str, str]:
        stamp = str(int(time.time()))
        signature = self._signing.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {
            "Content-Type": "application/json",
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
        }


def _errors(status: int, field: str, message: str) -> Said:
    return Said(status, {"errors": [{"message": message, "field": field or None, "help": None}]})
