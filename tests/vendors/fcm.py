"""Google's token endpoint and FCM's HTTP v1 API.

As https://developers.google.com/identity/protocols/oauth2/service-account#httprest and
https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send describe them; bodies of
errors as https://firebase.google.com/docs/cloud-messaging/error-codes shows them.
"""

import json
import re
import time
import uuid
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.vendors.server import Asked, Said, Vendor
from tests.vendors.tokens import verified

PROJECT = "acme-push"
EMAIL = "sender@acme-push.iam.gserviceaccount.com"
KEY_ID = "8d4c0fa7"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"

_KNOWN = {"token", "notification", "data", "android", "apns", "webpush"}
_ERRORS = "type.googleapis.com/google.firebase.fcm.v1.FcmError"

REFUSED = {
    "unregistered": (404, "UNREGISTERED", "Requested entity was not found."),
    "mismatch": (403, "SENDER_ID_MISMATCH", "SenderId mismatch"),
    "quota": (429, "QUOTA_EXCEEDED", "Quota exceeded."),
    "away": (503, "UNAVAILABLE", "The service is currently unavailable."),
    "internal": (500, "INTERNAL", "Internal error encountered."),
    "apple": (401, "THIRD_PARTY_AUTH_ERROR", "Auth error from APNS or Web Push Service"),
    "new": (400, "SOMETHING_NEW", "what nobody knows yet"),
}
"""Registration tokens that are answered with each of the documented codes."""

_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
_STATUS |= {404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}


@cache
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class FCM(Vendor):
    """messages: what was taken, by name. tokens: those handed out and until when they are good.

    lasts: seconds a token does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, float] = {}
        self.lasts = 3599

    def environment(self, folder: Path) -> dict[str, str]:
        """What points the provider here."""
        path = folder / "service-account.json"
        path.write_text(json.dumps(self.account()))
        return {"NOTIFIER_FCM_SERVICE_ACCOUNT_FILE": str(path), "NOTIFIER_FCM_API_URL": self.url}

    def account(self) -> dict[str, str]:
        """A service account's file."""
        pem = signing_key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": KEY_ID,
            "private_key": pem.decode(),
            "client_email": EMAIL,
            "token_uri": f"{self.url}/token",
        }

    def answer(self, asked: Asked) -> Said:
        match (asked.method, asked.path):
            case ("POST", "/token"):
                return self._hand_out(asked)
            case ("POST", path) if path == f"/v1/projects/{PROJECT}/messages:send":
                return self._take(asked)
        return Said(404, b"<html>404</html>", {"Content-Type": "text/html"})

    def _hand_out(self, asked: Asked) -> Said:
        form, now = asked.form, time.time()
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return Said(400, {"error": "unsupported_grant_type"})
        try:
            header, claims = verified(form["assertion"], signing_key().public_key())
        except (KeyError, ValueError):
            return _grant_error("Invalid JWT Signature.")
        if header.get("kid") != KEY_ID or claims.get("iss") != EMAIL:
            return _grant_error("Invalid grant: account not found")
        if claims.get("aud") != f"{self.url}/token":
            return _grant_error("Invalid JWT: audience")
        if claims.get("scope") != SCOPE:
            return Said(400, {"error": "invalid_scope"})
        if not now - 3600 < claims.get("iat", 0) <= now + 1 or not (
            now < claims.get("exp", 0) <= claims["iat"] + 3600
        ):
            return _grant_error("Invalid JWT: Token must be a short-lived token (60 minutes)")
        token = f"ya29.{uuid.uuid4().hex}"
        with self.lock:
            self.tokens[token] = now + self.lasts
        return Said(200, {"access_token": token, "expires_in": self.lasts, "token_type": "Bearer"})

    def _take(self, asked: Asked) -> Said:
        word, _, token = asked.headers.get("authorization", "").partition(" ")
        if word != "Bearer" or self.tokens.get(token, 0) <= time.time():
            return error(401, None, "Request had invalid authentication credentials.")
        body = asked.json
        message = body.get("message") or {}
        if set(body) - {"message", "validate_only"} or set(message) - _KNOWN:
            return error(400, None, "Invalid JSON payload received. Unknown name")
        target = message.get("token")
        if not target:
            return error(400, "INVALID_ARGUMENT", "Recipient of the message is not set.")
        if target in REFUSED:
            status, code, words = REFUSED[target]
            return error(status, code, words)
        if target == "rubbish":
            words = "The registration token is not a valid FCM registration token"
            return error(400, "INVALID_ARGUMENT", words, "message.token")
        for name, value in message.get("data", {}).items():
            if not isinstance(value, str) or name in ("from", "message_type"):
                return error(
                    400, None, f"Invalid value at 'message.data[0].{name}'", "message.data"
                )
        android = message.get("android", {})
        if not re.fullmatch(r"[0-9]+s", android.get("ttl", "1s")) or (
            int(android.get("ttl", "1s")[:-1]) > 2419200
        ):
            return error(400, "INVALID_ARGUMENT", "Invalid TTL", "message.android.ttl")
        if android.get("priority", "HIGH") not in ("HIGH", "NORMAL"):
            return error(400, None, "Invalid value at 'message.android.priority'")
        if not isinstance(android.get("notification", {}).get("notification_count", 0), int):
            words = "Invalid value at 'message.android.notification.notification_count'"
            return error(400, None, words)
        aps = message.get("apns", {}).get("payload", {}).get("aps", {})
        if not isinstance(aps.get("badge", 0), int):
            return error(400, "INVALID_ARGUMENT", "badge must be a number", "message.apns.payload")
        link = message.get("webpush", {}).get("fcm_options", {}).get("link", "https://")
        if not link.startswith("https://"):
            return error(400, "INVALID_ARGUMENT", "WebpushConfig.fcm_options.link must be https")
        said = {name: message[name] for name in ("notification", "data") if name in message}
        if len(json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()) > 4096:
            return error(400, "INVALID_ARGUMENT", "Message too big")
        name = f"projects/{PROJECT}/messages/0:{uuid.uuid4().hex}"
        with self.lock:
            self.messages[name] = message
        return Said(200, {"name": name})


def error(status: int, code: str | None, message: str, field: str | None = None) -> Said:
    """An error as the API tells it. code: FCM's own, where it has one for it."""
    details: list[dict[str, Any]] = []
    if code is not None:
        details.append({"@type": _ERRORS, "errorCode": code})
    if field is not None:
        violation = {"field": field, "description": message}
        kind = "type.googleapis.com/google.rpc.BadRequest"
        details.append({"@type": kind, "fieldViolations": [violation]})
    told = {"code": status, "message": message, "status": _STATUS[status], "details": details}
    return Said(status, {"error": told})


def _grant_error(words: str) -> Said:
    return Said(400, {"error": "invalid_grant", "error_description": words})
