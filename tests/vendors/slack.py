"""Slack's Web API as far as messages go, its incoming webhooks, and presses of buttons.

Bodies and codes as https://docs.slack.dev/reference/methods/chat.postMessage and
https://api.slack.com/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks show them, limits
as https://docs.slack.dev/reference/block-kit/blocks and the pages below it give them.
"""

import hashlib
import hmac
import json
import re
import time
import uuid
from typing import Any
from urllib.parse import urlencode

import requests

from tests.vendors.server import Asked, Said, Vendor

TOKEN, SIGNING_SECRET = "xoxb-0123-4567-secret", "8f742231b10e8888abcd99yyyzzz85a5"
CHANNEL, ARCHIVED, FOREIGN = "C0123456789", "C0ARCHIVED0", "C0FOREIGN00"
HOOK = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"

_CHANNELS = {CHANNEL, "#general", "G0123456789", "D0123456789", "U0123456789", "W0123456789"}
_REFUSED = {ARCHIVED: "is_archived", FOREIGN: "not_in_channel"}
_HOOKS_REFUSED = {
    "/services/T0/B0/archived": (410, "channel_is_archived"),
    "/services/T0/B0/forbidden": (403, "action_prohibited"),
}


class Slack(Vendor):
    """messages: the bodies that were taken, by `ts` or, of a webhook, by a number."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, dict[str, Any]] = {}

    def environment(self) -> dict[str, str]:
        """What points the provider here."""
        return {
            "NOTIFIER_SLACK_BOT_TOKEN": TOKEN,
            "NOTIFIER_SLACK_SIGNING_SECRET": SIGNING_SECRET,
            "NOTIFIER_SLACK_API_URL": f"{self.url}/api",
            "NOTIFIER_SLACK_HOOKS_URL": self.url,
        }

    def answer(self, asked: Asked) -> Said:
        match (asked.method, asked.path):
            case ("POST", "/api/auth.test"):
                return self._refused(asked) or Said(200, {"ok": True, "team": "Acme"})
            case ("POST", "/api/chat.postMessage"):
                return self._refused(asked) or self._post(asked)
            case ("POST", path) if path.startswith("/services/"):
                return self._hook(asked)
        return _error("unknown_method")

    def _refused(self, asked: Asked) -> Said | None:
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        if not token:
            return _error("not_authed")
        return None if (scheme, token) == ("Bearer", TOKEN) else _error("invalid_auth")

    def _post(self, asked: Asked) -> Said:
        if asked.headers.get("content-type") != "application/json; charset=utf-8":
            return _error("invalid_post_type")
        body = asked.json
        channel = body.get("channel")
        if channel in _REFUSED:
            return _error(_REFUSED[channel])
        if channel not in _CHANNELS:
            return _error("channel_not_found")
        problem = problem_of(body.get("blocks"))
        if problem:
            messages = [f"[ERROR] {problem}"]
            return _error("invalid_blocks", response_metadata={"messages": messages})
        if not body.get("text"):
            return _error("no_text")
        if len(body["text"]) > 40_000:
            return _error("msg_too_long")
        metadata = body.get("metadata", {})
        if set(metadata) != {"event_type", "event_payload"}:
            return _error("invalid_metadata_format")
        with self.lock:
            for ts, before in self.messages.items():
                if before.get("client_msg_id") == body["client_msg_id"]:
                    return Said(200, {"ok": True, "channel": CHANNEL, "ts": ts})
            ts = f"1503435956.{len(self.messages):06}"
            self.messages[ts] = body
        return Said(200, {"ok": True, "channel": CHANNEL, "ts": ts, "message": {"ts": ts}})

    def _hook(self, asked: Asked) -> Said:
        if asked.path in _HOOKS_REFUSED:
            return _word(*_HOOKS_REFUSED[asked.path])
        if asked.path != HOOK:
            return _word(404, "no_service")
        body = asked.json
        if problem_of(body.get("blocks")):
            return _word(400, "invalid_blocks")
        if not body.get("text"):
            return _word(400, "no_text")
        with self.lock:
            self.messages[f"hook {len(self.messages)}"] = body
        return _word(200, "ok")

    def press(self, url: str, **how: Any) -> requests.Response:
        """Post a press of the button as Slack does."""
        body, headers = pressed(**how)
        return requests.post(url, data=body, headers=headers, timeout=10)


def problem_of(blocks: Any) -> str | None:
    """What Slack would say of blocks, where they are not as it wants them."""
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= 50:
        return "no more than 50 items allowed, and no fewer than 1"
    for block in blocks:
        match block:
            case {"type": "header", "text": {"type": "plain_text", "text": text}}:
                if not 1 <= len(text) <= 150 or not _is_escaped(text):
                    return "must be less than 151 characters [json-pointer:/blocks/text]"
            case {"type": "section", "text": {"type": "mrkdwn", "text": text}}:
                if not 1 <= len(text) <= 3000 or not _is_escaped(_LINK.sub("", text)):
                    return "must be less than 3001 characters [json-pointer:/blocks/text]"
            case {"type": "actions", "elements": [*buttons]} if 1 <= len(buttons) <= 25:
                for button in buttons:
                    words = button["text"]
                    if button["type"] != "button" or words["type"] != "plain_text":
                        return "invalid element"
                    if not 1 <= len(words["text"]) <= 75 or len(button["action_id"]) > 255:
                        return "must be less than 76 characters"
                    if len(button.get("value", "")) > 2000 or len(button.get("url", "")) > 3000:
                        return "must be less than 2001 characters"
                    if button.get("style", "primary") not in ("primary", "danger"):
                        return "invalid style"
            case _:
                return f"unsupported block: {block.get('type')}"
    return None


_LINK = re.compile(r"<https?://[^\s<>|]+\|[^<>|]+>")


def _is_escaped(text: str) -> bool:
    return not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text)


def pressed(
    *values: str,
    action: str = "acknowledge",
    kind: str = "block_actions",
    secret: str = SIGNING_SECRET,
    at: float | None = None,
) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of what comes when buttons of these values are pressed."""
    payload = {
        "type": kind,
        "team": {"id": "T9TK3CUKW", "domain": "example"},
        "user": {"id": "UA8RXUSPL", "username": "ada", "team_id": "T9TK3CUKW"},
        "api_app_id": "AABA1ABCD",
        "token": "9s8d9as89d8as9d8as989",
        "trigger_id": "12321423423.333649436676.d8c1bb837935619ccad0f624c448ffb3",
        "container": {"type": "message", "message_ts": "1548261231.000200"},
        "response_url": "https://hooks.slack.com/actions/AABA1ABCD/1232321423432/D09sSasdasdAS9091",
        "actions": [
            {
                "type": "button",
                "action_id": action,
                "block_id": "=qXel",
                "value": value,
                "text": {"type": "plain_text", "text": "Acknowledge"},
                "action_ts": "1548426417.840180",
            }
            for value in values
        ],
    }
    body = urlencode({"payload": json.dumps(payload)}).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return body, form | signed(body, secret, at)


def signed(body: bytes, secret: str = SIGNING_SECRET, at: float | None = None) -> dict[str, str]:
    """The headers by which Slack's own calls are known."""
    stamp = str(int(time.time() if at is None else at))
    made = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256)
    return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={made.hexdigest()}"}


def _error(code: str, **more: Any) -> Said:
    return Said(200, {"ok": False, "error": code, **more}, {"x-slack-req-id": uuid.uuid4().hex})


def _word(status: int, word: str) -> Said:
    return Said(status, word.encode(), {"Content-Type": "text/html"})
