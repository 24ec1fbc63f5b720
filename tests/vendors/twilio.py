"""Twilio's REST API as far as messages and calls go, and the call backs it makes.

Bodies and codes as https://www.twilio.com/docs/messaging/api/message-resource,
https://www.twilio.com/docs/voice/api/call-resource and https://www.twilio.com/docs/api/errors
show them.
"""

import base64
import re
import uuid
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import requests
from twilio.request_validator import RequestValidator

from tests.vendors.server import Asked, Said, Vendor

ACCOUNT = "AC" + "0123456789abcdef" * 2
TOKEN = "f" * 32
NUMBER = "+15005550006"
SERVICE = "MG" + "a" * 32

_REFUSED = {
    "+15005550001": (21211, "Invalid 'To' Phone Number: +1500555XXXX"),
    "+15005550002": (21612, "The 'To' phone number can not be reached via SMS"),
    "+15005550003": (21408, "Permission to send an SMS has not been enabled for the region"),
    "+15005550004": (21610, "Attempt to send to unsubscribed recipient"),
    "+15005550009": (21614, "'To' number is not a valid mobile number"),
}
"""https://www.twilio.com/docs/iam/test-credentials"""


class Twilio(Vendor):
    """messages, calls: what was taken, by its sid, newest last."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, dict[str, Any]] = {}

    def environment(self) -> dict[str, str]:
        """What points the provider here."""
        return {
            "NOTIFIER_TWILIO_ACCOUNT_SID": ACCOUNT,
            "NOTIFIER_TWILIO_AUTH_TOKEN": TOKEN,
            "NOTIFIER_TWILIO_FROM": NUMBER,
            "NOTIFIER_TWILIO_API_URL": self.url,
        }

    def answer(self, asked: Asked) -> Said:
        wanted = "Basic " + base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        if asked.headers.get("authorization") != wanted:
            return _refusal(401, 20003, "Authenticate")
        match (asked.method, *asked.path.strip("/").split("/")):
            case ("GET", "2010-04-01", "Accounts", file) if file == f"{ACCOUNT}.json":
                return Said(200, {"sid": ACCOUNT, "status": "active", "type": "Full"})
            case ("POST", "2010-04-01", "Accounts", account, "Messages.json"):
                return self._message(account, asked.form)
            case ("POST", "2010-04-01", "Accounts", account, "Calls.json"):
                return self._call(account, asked.form)
            case ("GET", "2010-04-01", "Accounts", account, "Messages.json"):
                return self._list(account, "messages", self.messages, asked)
            case ("GET", "2010-04-01", "Accounts", account, "Calls.json"):
                return self._list(account, "calls", self.calls, asked)
        return _refusal(404, 20404, f"The requested resource {asked.path} was not found")

    def _message(self, account: str, form: dict[str, str]) -> Said:
        if account != ACCOUNT:
            return _refusal(404, 20404, "The requested resource was not found")
        to, body = form.get("To", ""), form.get("Body", "")
        if to in _REFUSED:
            return _refusal(400, *_REFUSED[to])
        if not to:
            return _refusal(400, 21604, "A 'To' phone number is required.")
        if not re.fullmatch(r"\+[1-9][0-9]{6,14}", to):
            return _refusal(400, 21211, f"Invalid 'To' Phone Number: {to}")
        if not form.get("From") and not form.get("MessagingServiceSid"):
            return _refusal(400, 21603, "A 'From' phone number is required.")
        if form.get("From") not in (None, NUMBER):
            return _refusal(400, 21606, "The 'From' phone number is not a valid sender")
        if form.get("MessagingServiceSid") not in (None, SERVICE):
            return _refusal(404, 21705, "The Messaging Service Sid is invalid.")
        if not body:
            return _refusal(400, 21602, "Message body is required.")
        if len(body) > 1600:
            return _refusal(400, 21617, "The concatenated message body exceeds the limit")
        if not _is_callback(form.get("StatusCallback")):
            return _refusal(400, 21609, "The StatusCallback URL is not valid")
        sid = "SM" + uuid.uuid4().hex
        made = {
            **_record(sid, form),
            "body": body,
            "status": "accepted" if "MessagingServiceSid" in form else "queued",
            "messaging_service_sid": form.get("MessagingServiceSid"),
            "num_segments": "0" if "MessagingServiceSid" in form else str(-(-len(body) // 160)),
            "num_media": "0",
            "error_code": None,
            "error_message": None,
            "date_sent": None,
            "subresource_uris": {},
        }
        with self.lock:
            self.messages[sid] = made | {"callback": form.get("StatusCallback")}
        return Said(201, made)

    def _call(self, account: str, form: dict[str, str]) -> Said:
        if account != ACCOUNT:
            return _refusal(404, 20404, "The requested resource was not found")
        to = form.get("To", "")
        if not re.fullmatch(r"\+[1-9][0-9]{6,14}", to) or to == "+15005550001":
            return _refusal(400, 21217, f"Phone number: {to} does not appear to be valid")
        if form.get("From") != NUMBER:
            return _refusal(400, 21210, "The source phone number is not verified")
        if "Twiml" not in form and "Url" not in form:
            return _refusal(400, 21205, "A Url or Twiml is required")
        try:
            spoken = ElementTree.fromstring(form["Twiml"])
        except ElementTree.ParseError:
            return _refusal(400, 21205, "Twiml is no XML")
        if spoken.tag != "Response":
            return _refusal(400, 21205, "Twiml is no TwiML")
        if len(form["Twiml"]) > 4000:
            return _refusal(400, 32018, "Twiml size exceeded maximum allowed value of 4000")
        if not _is_callback(form.get("StatusCallback")):
            return _refusal(400, 21609, "The StatusCallback URL is not valid")
        sid = "CA" + uuid.uuid4().hex
        made = {
            **_record(sid, form),
            "status": "queued",
            "answered_by": None,
            "start_time": None,
            "end_time": None,
            "duration": None,
            "subresource_uris": {},
        }
        with self.lock:
            self.calls[sid] = made | {
                "callback": form.get("StatusCallback"),
                "twiml": form["Twiml"],
                "machine_detection": form.get("MachineDetection"),
            }
        return Said(201, made)

    def _list(self, account: str, name: str, kept: dict[str, Any], asked: Asked) -> Said:
        with self.lock:
            found = [
                {key: value for key, value in each.items() if key not in ("callback", "twiml")}
                for each in reversed(kept.values())
                if asked.query.get("To") in (None, each["to"])
            ]
        size = int(asked.query.get("PageSize", "50"))
        page = {name: found[:size], "page": 0, "page_size": size, "next_page_uri": None}
        return Said(200, {**page, "uri": asked.path, "start": 0, "end": len(found[:size]) - 1})

    # Calling back

    def call_back(self, url: str, token: str = TOKEN, **given: str) -> requests.Response:
        """POST `given` as Twilio does, signed with the account's token."""
        return requests.post(url, data=given, headers=signed(url, given, token), timeout=10)


def pressed(twiml: str, key: str) -> dict[str, str] | None:
    """What is posted to the `action` once a key was pressed; None: the call goes on without.

    https://www.twilio.com/docs/voice/twiml/gather: the key that ends the input is no part of it, and
    where nothing was entered before it, no request is made.
    """
    gather = ElementTree.fromstring(twiml).find("Gather")
    assert gather is not None
    assert gather.get("numDigits") == "1"
    return None if key == gather.get("finishOnKey", "#") else {"Digits": key}


def signed(url: str, given: dict[str, str], token: str = TOKEN) -> dict[str, str]:
    """The headers of a call back with these parameters."""
    return {
        "X-Twilio-Signature": RequestValidator(token).compute_signature(url, given),
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        "User-Agent": "TwilioProxy/1.1",
    }


def form_of(given: dict[str, str]) -> bytes:
    return urlencode(given).encode()


def _record(sid: str, form: dict[str, str]) -> dict[str, Any]:
    now = format_datetime(datetime.now(UTC))
    return {
        "sid": sid,
        "account_sid": ACCOUNT,
        "api_version": "2010-04-01",
        "to": form["To"],
        "from": form.get("From"),
        "direction": "outbound-api",
        "price": None,
        "price_unit": "USD",
        "date_created": now,
        "date_updated": now,
        "uri": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json",
    }


def _is_callback(url: str | None) -> bool:
    if url is None:
        return True
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "_" not in parts.netloc


def _refusal(status: int, code: int, message: str) -> Said:
    return Said(
        status,
        {
            "code": code,
            "message": message,
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": status,
        },
    )
