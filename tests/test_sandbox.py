"""What the sandbox captures: every channel's look, reports that come late, and whose it is."""

import json
import re
import subprocess
import sys
import uuid
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Connection

from notifier import attach, callbacks, catalogue, emit, sandbox
from notifier.channels.sandbox import Sandbox
from notifier.cli import main
from notifier.errors import InvalidValue
from notifier.settings import Settings, settings
from notifier.store import audience
from notifier.words import Channel
from tests.channels.conftest import ADDRESSES
from tests.conftest import Database, forget
from tests.engine import configured, run_due, sound, to, to_addresses, worker

__all__ = ["configured", "sound"]

INCIDENT = next(kind for kind in catalogue.load() if kind.type == "incident.opened").example
PUBLIC = "https://notify.example.org"


class Elements(HTMLParser):
    """The elements of a page with their attributes, its text, and the ends that are missing."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def through_sandbox(database: Database, with_settings: Settings) -> None:
    run_due(database, worker(with_settings, Sandbox()))


@pytest.fixture
def captured(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> uuid.UUID:
    """The tenant, after an incident that went by every channel, an invoice with its mail."""
    monkeypatch.setenv("NOTIFIER_SECRET_KEYS", Fernet.generate_key().decode())
    monkeypatch.setenv("NOTIFIER_PUBLIC_URL", PUBLIC)
    forget()
    invoice = attach(connection, b"%PDF-1.7", tenant=tenant, name="invoice.pdf")
    to_all = [{"channel": channel, "address": address} for channel, address in ADDRESSES.items()]
    for whom in ({"addresses": to_all}, {"recipients": ["ada"], "channels": ["inapp"]}):
        emit(connection, "incident.opened", INCIDENT, tenant=tenant, to=whom, attachments=[invoice])
    connection.commit()
    through_sandbox(database, settings())
    return tenant


def test_every_channel_is_captured_and_listed_the_newest_first(
    connection: Connection, captured: uuid.UUID
) -> None:
    messages = sandbox.listed(connection, captured)
    assert {message.channel for message in messages} == set(Channel)
    assert len(messages) == len(Channel)
    assert messages[0].channel is Channel.INAPP, "emitted last"
    by_channel = {message.channel: message for message in messages}
    inbox = by_channel[Channel.INAPP]
    assert (inbox.recipient, inbox.event_type, inbox.attempt) == ("ada", "incident.opened", 1)
    mail = by_channel[Channel.EMAIL]
    assert (mail.recipient, mail.address) == (None, ADDRESSES[Channel.EMAIL])
    assert mail.parts["attachments"] == "invoice.pdf"
    assert mail.parts["acknowledge_url"] in mail.parts["html"]
    secret = {Channel.PUSH, Channel.SLACK, Channel.TEAMS, Channel.APPRISE}
    assert all(by_channel[channel].address is None for channel in secret)


def test_what_is_listed_can_be_narrowed_down(
    connection: Connection, captured: uuid.UUID, tenant: uuid.UUID
) -> None:
    def channels(**which: Any) -> list[Channel]:
        return [message.channel for message in sandbox.listed(connection, captured, **which)]

    assert channels(channel=Channel.SMS) == [Channel.SMS]
    assert channels(recipient="ada") == [Channel.INAPP]
    assert channels(recipient="bob") == []
    assert len(channels(limit=3)) == 3
    for limit in (0, 1001):
        with pytest.raises(InvalidValue, match="limit"):
            channels(limit=limit)
    other = audience.create_tenant(connection, "other")
    assert sandbox.listed(connection, other) == []


def test_the_page_shows_each_message_as_it_would_look(
    connection: Connection, captured: uuid.UUID
) -> None:
    page = sandbox.page(connection, captured, sandbox.listed(connection, captured))
    elements = Elements(page)
    assert elements.open == [], "every element is closed"
    shown = {attributes["class"] for attributes in elements.of("article")}
    assert shown == set(Channel)
    assert "Sandbox of acme" in elements.text
    assert "Carries invoice.pdf" in elements.text
    assert re.search(r"\d+ units of GSM-7, [12] segments?", elements.text)
    assert '"type": "incident.opened"' in elements.text, "a webhook's body can be read"
    (mail,) = elements.of("iframe")
    assert mail["sandbox"] == "allow-popups"
    assert mail["srcdoc"].startswith("<!doctype html>")  # type: ignore[union-attr]
    assert "Checkout returns errors" in str(mail["srcdoc"])
    links = {attributes.get("href") for attributes in elements.of("a")}
    assert INCIDENT["url"] in links
    assert {link for link in links if str(link).startswith(f"{PUBLIC}/a/")}, "one can acknowledge"


def test_the_page_runs_and_loads_nothing_whatever_a_message_says(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'|javascript:alert(3)"
    example = json.loads(json.dumps(INCIDENT))
    example["incident"]["title"] = evil
    to_all = [{"channel": channel, "address": address} for channel, address in ADDRESSES.items()]
    emit(connection, "incident.opened", example, tenant=tenant, to={"addresses": to_all})
    connection.commit()
    through_sandbox(database, configured)
    page = sandbox.page(connection, tenant, sandbox.listed(connection, tenant))
    elements = Elements(page)
    assert elements.text.count(evil) >= 6, "it is said, in every channel, and means nothing"
    assert {tag for tag, _ in elements.found}.isdisjoint({"script", "img", "link", "object"})
    for tag, attributes in elements.found:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert "src" not in attributes, tag
        assert re.fullmatch(r"https?://.*", attributes.get("href") or "https://"), tag
    policy = next(a["content"] for a in elements.of("meta") if "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("channel", "address", "status", "dead"),
    [
        ("email", "ada+late@example.com", "delivered", False),
        ("email", "ada+late-bounce@example.com", "bounced", True),
        ("sms", "+15005550200", "delivered", False),
        ("sms", "+15005550550", "bounced", True),
    ],
)
def test_some_addresses_are_reported_on_later(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    channel: str,
    address: str,
    status: str,
    dead: bool,
) -> None:
    audience.upsert_recipients(
        connection,
        tenant,
        [
            {
                "external_id": "zoe",
                "contact_points": [{"channel": channel, "address": address}],
            }
        ],
    )
    to(connection, tenant, ["zoe"], channel)
    through_sandbox(database, configured)
    assert database.statuses() == {"sent": 1}
    wait = database.one("SELECT look_at - received_at FROM notifier.callbacks")
    assert 2.9 < wait.total_seconds() <= 3.1
    assert database.one(
        "SELECT due_at - now() > interval '2 s' FROM notifier.dispatches WHERE kind = 'receive'"
    )
    with database.pool.begin() as writer:
        writer.exec_driver_sql("UPDATE notifier.callbacks SET look_at = now()")
        writer.exec_driver_sql("UPDATE notifier.dispatches SET due_at = now()")
    callbacks.receive(database.one("SELECT id FROM notifier.dispatches"), worker(configured))
    assert database.statuses() == {status: 1}
    assert database.one("SELECT count(*) FROM notifier.callbacks") == 0
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0
    is_dead = "SELECT dead_at IS NOT NULL FROM notifier.contact_points WHERE address = %s"
    assert database.one(is_dead, address) is dead


def test_reports_come_after_their_own_time_each(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to_addresses(connection, tenant, 3)
    emit(
        connection,
        "task.due_soon",
        {"task": {"title": "x", "due_at": "2030-01-01T00:00:00Z"}},
        tenant=tenant,
        to={"addresses": [{"channel": "email", "address": f"x{n}+late@example.com"} for n in "ab"]},
    )
    connection.commit()
    through_sandbox(database, configured)
    assert database.statuses() == {"sent": 5}
    assert database.one("SELECT count(*) FROM notifier.callbacks") == 2
    (early,) = database.query("SELECT id FROM notifier.dispatches WHERE kind = 'receive'")
    with database.pool.begin() as writer:
        writer.exec_driver_sql("UPDATE notifier.dispatches SET due_at = now()")
    callbacks.receive(early[0], worker(configured))
    assert database.statuses() == {"sent": 5}, "looked at too early, it waits"
    assert database.one("SELECT due_at > now() + interval '1 s' FROM notifier.dispatches")


def test_the_commands_list_and_show(
    captured: uuid.UUID, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sandbox", "list", "--tenant", "acme", "--channel", "sms", "--json"]) == 0
    (message,) = json.loads(capsys.readouterr().out)["messages"]
    assert (message["channel"], message["event_type"]) == ("sms", "incident.opened")
    assert "Checkout" in message["parts"]["text"]
    assert main(["sandbox", "list", "--tenant", "acme"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 + len(Channel)
    assert main(["sandbox", "list", "--tenant", "acme", "--recipient", "bob"]) == 0
    assert capsys.readouterr().out == "it has captured nothing\n"
    output = tmp_path / "look.html"
    assert main(["sandbox", "page", "--tenant", "acme", "--output", str(output)]) == 0
    assert f"{len(Channel)} messages in {output}" in capsys.readouterr().err
    program = (sys.executable, "-m", "notifier.cli", "sandbox", "page", "--tenant", "acme")
    printed_page = subprocess.check_output([*program, "--output", "-"], text=True)
    assert printed_page == output.read_text()
    assert len(Elements(output.read_text()).of("article")) == len(Channel)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list"], "Missing option '--tenant'"),
        (["list", "--tenant", "acme", "--channel", "fax"], "'fax' is not one of"),
        (["list", "--tenant", "acme", "--limit", "0"], "0 is not in the range"),
        (["page", "--tenant", "acme"], "Missing option '--output'"),
        (["page", "--tenant", "acme", "--output", "/no/such/folder/x"], "/no/such/folder/x"),
    ],
)
def test_wrong_use_is_told(
    captured: uuid.UUID, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sandbox", *arguments]) == 2
    assert told in capsys.readouterr().err
