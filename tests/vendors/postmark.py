"""Postmark's batches of e-mail.

As https://postmarkapp.com/developer/user-guide/send-email-with-api/batch-emails and
https://postmarkapp.com/developer/api/overview show them.
"""

import base64
import json
import re
import uuid
from typing import Any

from tests.vendors.server import Asked, Said, Vendor

TOKEN = "5b2c1f2e-0d7c-4c62-9a5e-3a3f1f7f2c11"
SENDER = "notify@example.org"
STREAMS = ("outbound", "broadcast")
LOGIN = "postmark:hook-password"

# https://postmarkapp.com/support/article/1056-what-are-the-attachment-and-email-size-limits
LARGEST, LARGEST_BATCH = 10_000_000, 50_000_000

# https://postmarkapp.com/support/article/1180-what-does-errorcode-300-mean
_DOMAIN = re.compile(r"(\.?[a-zA-Z0-9-])+")
_MAILBOX = re.compile(r"[a-z0-9.!#$%&'`*+\-/=^_{}|~]+", re.IGNORECASE)

_HEADER = re.compile(r"[!-9;-~]+")


class Postmark(Vendor):
    """messages: what was taken, by message id. inactive: addresses that bounced before."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, dict[str, Any]] = {}
        self.inactive: set[str] = set()

    def environment(self) -> dict[str, str]:
        """What points the provider here."""
        return {
            "NOTIFIER_POSTMARK_SERVER_TOKEN": TOKEN,
            "NOTIFIER_POSTMARK_FROM": f"Acme <{SENDER}>",
            "NOTIFIER_POSTMARK_WEBHOOK_SECRET": LOGIN,
            "NOTIFIER_POSTMARK_API_URL": self.url,
        }

    def answer(self, asked: Asked) -> Said:
        if asked.headers.get("x-postmark-server-token") != TOKEN:
            words = "No Account or Server API tokens were supplied in the HTTP headers."
            return Said(401, {"ErrorCode": 10, "Message": words})
        if (asked.method, asked.path) == ("GET", "/server"):
            return Said(200, {"ID": 1, "Name": "Acme", "ApiTokens": [TOKEN]})
        if (asked.method, asked.path) != ("POST", "/email/batch"):
            return Said(404, {"ErrorCode": 404, "Message": "Not found"})
        for name in ("content-type", "accept"):
            if asked.headers.get(name) != "application/json":
                return Said(422, {"ErrorCode": 409, "Message": f"JSON required in {name}"})
        if not isinstance(asked.json, list):
            return Said(422, {"ErrorCode": 403, "Message": "Incompatible JSON"})
        if len(asked.body) > LARGEST_BATCH:
            return Said(413, {"ErrorCode": 413, "Message": "Payload too large"})
        if len(asked.json) > 500:
            return Said(422, {"ErrorCode": 410, "Message": "Too many batch messages"})
        return Said(200, [self._one(message) for message in asked.json])

    def _one(self, message: dict[str, Any]) -> dict[str, Any]:
        sender = re.fullmatch(r'(?:"(?:[^"\\]|\\.)*" <(.+)>|([^<>"]+))', message.get("From", ""))
        if sender is None:
            return _error(300, "Error parsing 'From'")
        if (sender[1] or sender[2]) != SENDER:
            return _error(400, f"The 'From' address you supplied ({sender[0]}) is not a Signature")
        to = message.get("To", "")
        mailbox, _, domain = to.rpartition("@")
        if not mailbox or "." not in domain:
            return _error(300, "Error parsing 'To': Illegal email address")
        if not _DOMAIN.fullmatch(domain):
            return _error(300, f"Error parsing 'To': Illegal email domain '{domain}'")
        if not _MAILBOX.fullmatch(mailbox) or f".{mailbox}.".count("..") > 0:
            return _error(300, f"Error parsing 'To': Illegal email mailbox '{mailbox}'")
        if not message.get("TextBody") and not message.get("HtmlBody"):
            return _error(300, "Provide either email TextBody or HtmlBody or both.")
        if message.get("MessageStream", "outbound") not in STREAMS:
            return _error(1235, "The 'MessageStream' provided does not exist on this server.")
        for header in message.get("Headers", []):
            if set(header) != {"Name", "Value"} or not _HEADER.fullmatch(header["Name"]):
                return _error(300, "Invalid header")
        metadata = message.get("Metadata", {})
        if not all(isinstance(value, str) and len(value) <= 80 for value in metadata.values()):
            return _error(300, "Invalid metadata content")
        for file in message.get("Attachments", []):
            if set(file) != {"Name", "Content", "ContentType"}:
                return _error(300, "Invalid attachment")
            try:
                base64.b64decode(file["Content"], validate=True)
            except ValueError:
                return _error(300, "Invalid attachment content")
        if len(json.dumps(message)) > LARGEST:
            return _error(300, "The message is larger than 10 MB")
        if to in self.inactive:
            words = "You tried to send to recipient(s) that have been marked as inactive."
            return _error(406, words)
        told = str(uuid.uuid4())
        with self.lock:
            self.messages[told] = message
        return {
            "ErrorCode": 0,
            "Message": "OK",
            "MessageID": told,
            "SubmittedAt": "2010-11-26T12:01:05.1794748-05:00",
            "To": to,
        }


def _error(code: int, message: str) -> dict[str, Any]:
    return {"ErrorCode": code, "Message": message}
