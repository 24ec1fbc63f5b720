"""Vonage's SMS API, and the receipts it sends.

Bodies and codes as https://developer.vonage.com/en/api/sms and
https://developer.vonage.com/en/api-errors/sms show them.
"""

import hashlib
import hmac
import re
import uuid
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.vendors.server import Asked, Said, Vendor

KEY, SECRET, SENDER, SIGNATURE = "abcd1234", "s3cr3tS3cr3t", "Acme", "signing secret"

_REFUSED = {
    "15005550001": ("33", "Number De-activated"),
    "15005550002": ("6", "Unroutable message - rejected"),
    "15005550004": ("7", "Number barred"),
    "15005550429": ("1", "Throughput Rate Exceeded - please wait [ 250 ] and retry"),
    "15005550500": ("5", "Internal Error"),
}


class Vonage(Vendor):
    """messages: what was taken, by the id of its first part."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, dict[str, str]] = {}

    def environment(self) -> dict[str, str]:
        """What points the provider here."""
        return {
            "NOTIFIER_VONAGE_API_KEY": KEY,
            "NOTIFIER_VONAGE_API_SECRET": SECRET,
            "NOTIFIER_VONAGE_FROM": SENDER,
            "NOTIFIER_VONAGE_SIGNATURE_SECRET": SIGNATURE,
            "NOTIFIER_VONAGE_API_URL": self.url,
        }

    def answer(self, asked: Asked) -> Said:
        if (asked.method, asked.path) != ("POST", "/sms/json"):
            return Said(404, b"<html>404</html>", {"Content-Type": "text/html"})
        form = asked.form
        for name in ("api_key", "from", "to", "text"):
            if not form.get(name):
                return _refusal("2", f"Missing {name} parameter")
        if (form["api_key"], form.get("api_secret")) != (KEY, SECRET):
            return Said(401, {"messages": [{"status": "4", "error-text": "Bad Credentials"}]})
        to, text = form["to"], form["text"]
        if to in _REFUSED:
            return _refusal(*_REFUSED[to])
        if not re.fullmatch(r"[1-9][0-9]{6,14}", to):
            return _refusal("3", "to address is not numeric")
        if form.get("type", "text") == "text" and not text.isascii() and "ß" not in text:
            # What the default alphabet lacks arrives as question marks.
            text = text.encode("ascii", "replace").decode()
        if len(form.get("client-ref", "")) > 100:
            return _refusal("3", "client-ref is too long")
        if urlsplit(form.get("callback", "https://x")).scheme not in ("http", "https"):
            return _refusal("23", "Invalid callback url")
        count = max(1, -(-len(text) // 160))
        parts = [
            {
                "to": to,
                "message-id": uuid.uuid4().hex[:16].upper(),
                "status": "0",
                "remaining-balance": "3.14159265",
                "message-price": "0.03330000",
                "network": "12345",
                "client-ref": form.get("client-ref", ""),
            }
            for _ in range(count)
        ]
        with self.lock:
            self.messages[parts[0]["message-id"]] = {**form, "text": text}
        return Said(200, {"message-count": str(count), "messages": parts})

    def call_back(self, url: str, secret: str = SIGNATURE, **given: str) -> requests.Response:
        """A receipt as Vonage sends it: a signed GET."""
        named = {name.replace("_", "-"): value for name, value in given.items()}
        return requests.get(url, params=signed(named, secret), timeout=10)


def signed(given: dict[str, str], secret: str = SIGNATURE) -> dict[str, str]:
    """The parameters with the time and the signature Vonage adds."""
    given = {**given, "timestamp": "1582650446", "nonce": "ec11dd3e-1e7f-4db5-9467-82b02cd223b9"}
    text = ""
    for name in sorted(given):
        text += "&" + name + "=" + given[name].replace("&", "_").replace("=", "_")
    made = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    return {**given, "sig": made.upper()}


def _refusal(status: str, text: str) -> Said:
    body: Any = {"message-count": "1", "messages": [{"status": status, "error-text": text}]}
    return Said(200, body)
