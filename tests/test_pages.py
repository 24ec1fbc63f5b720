"""What the pages show to be typed works as they show it."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from notifier.channels.webhook import signature_headers
from tests.channels.conftest import SECRET
from tests.conftest import Database
from tests.http.conftest import Client, acme, session, url

__all__ = ["acme", "session", "url"]

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

DOCS = Path(__file__).parents[1] / "docs"


def shown(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def typed(script: str, **variables: str) -> list[dict[str, Any]]:
    """Run a script in bash; the JSON objects that it printed."""
    ran = subprocess.run(
        ["bash", "-euc", script],
        env={**os.environ, "no_proxy": "*", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    decoder, found, rest = json.JSONDecoder(), [], ran.stdout.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].lstrip()
    return found


def test_the_first_steps_lead_from_a_recipient_to_the_journey_of_a_delivery(
    database: Database, acme: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, recipient, catalogue, event, status, journey, tastes = shown("first-steps.md", "sh")
    start = start.replace("http://127.0.0.1:8000", acme.url).replace(
        "the-key-it-printed", acme.token
    )
    (ada,) = typed(start + recipient)
    assert [point["channel"] for point in ada["contact_points"]] == ["email", "sms"]
    (types,) = typed(start + catalogue)
    assert "task.due_soon" in {each["name"] for each in types["event_types"]}
    (emitted,) = typed(start + event)
    assert (emitted["created"], emitted["refused"]) == (3, 0)
    counted, listed = typed(start + status, EVENT=emitted["id"])
    assert counted["statuses"] == {"queued": 3}
    (delivery, *_) = listed["deliveries"]
    (told,) = typed(start + journey, DELIVERY=delivery["id"])
    assert told["id"] == delivery["id"]
    subscribed, topic, preferred = typed(start + tastes)
    assert subscribed["is_active"]
    assert topic == {"name": "on-call", "members": 1}
    assert preferred["enabled"] is False

    (program,) = shown("first-steps.md", "python")
    monkeypatch.setenv("NOTIFIER_DATABASE_URL", database.producer_url)
    exec(program.replace("the-id-of-the-tenant", str(acme.tenant)), {})
    signed_up = "SELECT count(*) FROM notifier.notification_events WHERE type = 'user.signup'"
    assert database.one(signed_up) == 1


def test_an_endpoint_is_put_and_verifies_as_the_page_says(database: Database, acme: Client) -> None:
    (put,) = shown("webhooks.md", "sh")
    typed(put, URL=acme.url, KEY=acme.token)
    secret = database.one("SELECT secret FROM notifier.contact_points WHERE channel = 'webhook'")
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret)

    (program,) = shown("webhooks.md", "python")
    scope: dict[str, Any] = {}
    exec(program, scope)
    body = b'{"type":"x"}'
    headers = dict(signature_headers(f"{SECRET} {secret}", "id-1", int(time.time()), body))
    assert scope["is_ours"](headers, body, secret)
    assert scope["is_ours"](headers, body, SECRET)
    assert not scope["is_ours"](headers, body + b" ", secret)
    assert not scope["is_ours"]({**headers, "webhook-timestamp": "1"}, body, secret)
    late = dict(signature_headers(secret, "id-1", int(time.time()) - 301, body))
    assert not scope["is_ours"](late, body, secret)
