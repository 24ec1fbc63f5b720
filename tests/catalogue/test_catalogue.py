"""Every shipped event type is complete, valid and readable in every channel."""

import re
from datetime import datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest

from notifier.catalogue import EventType, load
from notifier.channels import sms
from notifier.rendering import (
    PARTS,
    SHORT,
    check_parts,
    check_rendered,
    check_template,
    compile_template,
    sample_context,
)
from notifier.rendering.check import required_only
from notifier.schema import check_schema
from notifier.words import Channel, Lane
from tests.catalogue.payloads import with_texts

CATALOGUE = {event_type.type: event_type for event_type in load()}
each_type = pytest.mark.parametrize("event_type", CATALOGUE.values(), ids=list(CATALOGUE))

FORMATS = jsonschema.FormatChecker(formats=["email", "uuid", "date"])
FORMATS.checks("date-time", raises=ValueError)(
    lambda value: datetime.fromisoformat(str(value)).tzinfo is not None
)
FORMATS.checks("uri", raises=ValueError)(lambda value: bool(urlsplit(str(value)).scheme))

HOSTILE = "<script>alert('x') & more</script>"
RENDERED = [channel for channel in Channel if channel is not Channel.WEBHOOK]


def rendered(
    event_type: EventType, payload: Any = None, **recipient: Any
) -> dict[str, dict[str, str]]:
    context = sample_context(event_type.example if payload is None else payload, **recipient)
    return {
        channel: compile_template(parts).render(context)
        for channel, parts in event_type.templates.items()
    }


def hostile(_: int) -> str:
    return HOSTILE


def longest(most: int) -> str:
    return ("four " * 1000)[:most]


def payloads(event_type: EventType) -> list[Any]:
    """The example, whole and with its required fields only."""
    return [event_type.example, required_only(event_type.example, event_type.schema)]


def leads_somewhere(payload: Any) -> bool:
    return "url" in payload or "url" in payload.get("appointment", {})


def test_the_whole_catalogue_ships() -> None:
    assert set(CATALOGUE) == {
        "brief.completed",
        "brief.failed",
        "user.signup",
        "task.due_soon",
        "brain_dump.processed",
        "project.phase_scheduled",
        "calendar.sync_failed",
        "calendar.event_reminder",
        "trial.ending",
        "trial.ended",
        "payment.failed",
        "incident.opened",
        "campaign.completed",
        "quota.warning",
    }


def test_incidents_are_critical_and_can_not_be_muted_and_campaigns_wait() -> None:
    incident = CATALOGUE["incident.opened"]
    assert (incident.lane, incident.mutable) == (Lane.CRITICAL, False)
    assert Channel.SMS in incident.channels
    assert CATALOGUE["campaign.completed"].lane is Lane.BULK


@each_type
def test_the_example_fits_the_schema_and_the_schema_the_subset(event_type: EventType) -> None:
    assert check_schema(event_type.schema) == []
    jsonschema.Draft202012Validator(event_type.schema, format_checker=FORMATS).validate(
        event_type.example
    )


@each_type
def test_every_template_is_sound(event_type: EventType) -> None:
    for channel in RENDERED:
        has = channel if channel in event_type.templates else SHORT
        parts = event_type.templates[has]
        assert check_parts(channel, parts) == []
        if channel is not Channel.SMS:
            # What an icon counts and what replaces what is known to who emits alone.
            everywhere = {*PARTS[has].required, *PARTS[has].optional} - {"collapse_key", "badge"}
            assert set(parts) == everywhere
    for parts in event_type.templates.values():
        assert check_template(parts, event_type.schema, event_type.example) == []


@each_type
def test_nothing_unrendered_and_no_doubled_blanks_reach_the_reader(event_type: EventType) -> None:
    for parts in rendered(event_type, unsubscribe_url="https://n.example/u").values():
        for part, text in parts.items():
            assert text
            assert not re.search(r"\{[{%]|[%}]\}|<!-- (body|preheader)|None|Undefined", text)
            if part != "html":
                assert "\n\n\n" not in text
                assert not re.search(r"[ ,]\.(\s|$)|\S {2,}\w+\.$", text)


@each_type
def test_times_are_told_in_the_recipients_zone(event_type: EventType) -> None:
    tokyo = rendered(event_type, timezone="Asia/Tokyo")
    new_york = rendered(event_type, timezone="America/New_York")
    has_time = "+00:00" in str(event_type.example)
    assert (tokyo["email"]["text"] != new_york["email"]["text"]) is has_time
    assert ("JST" in tokyo["email"]["text"]) is has_time
    assert ("EDT" in new_york["email"]["html"]) is has_time


@each_type
def test_a_hostile_payload_is_escaped_once_in_html_and_left_alone_elsewhere(
    event_type: EventType,
) -> None:
    parts = rendered(event_type, with_texts(event_type, hostile))
    assert "<script" not in parts["email"]["html"]
    assert "&amp;lt;" not in parts["email"]["html"]
    for plain in (parts["email"]["text"], parts["email"]["subject"], parts["inapp"]["message"]):
        assert "&lt;" not in plain
        assert "&amp;" not in plain


@each_type
@pytest.mark.parametrize("channel", RENDERED)
def test_every_channel_has_something_to_say(event_type: EventType, channel: Channel) -> None:
    for payload in payloads(event_type):
        texts = rendered(event_type, payload)
        parts = texts.get(channel, texts[SHORT])
        assert check_rendered(channel, parts) == []
        empty = {name for name, text in parts.items() if not text}
        assert empty == ({"url"} if "url" in parts and not leads_somewhere(payload) else set())


@each_type
def test_the_short_text_fits_one_sms_and_two_at_its_longest(event_type: EventType) -> None:
    for locale in ("en", "en-US", "fr"):
        for payload in payloads(event_type):
            text = rendered(event_type, payload, locale=locale)[SHORT]["text"]
            assert "\n" not in text
            assert (sms.is_gsm(text), sms.size(text).segments) == (True, 1)
        payload = with_texts(event_type, longest)
        text = rendered(event_type, payload, locale=locale)[SHORT]["text"]
        assert sms.size(text).segments <= 2


@each_type
def test_a_push_and_a_chat_show_what_the_inbox_shows_and_where_it_leads(
    event_type: EventType,
) -> None:
    texts = rendered(event_type)
    for channel in (Channel.PUSH, Channel.SLACK, Channel.TEAMS, Channel.APPRISE):
        assert texts[channel]["title"] == texts["inapp"]["title"]
        assert texts[channel]["text"] == texts["inapp"]["message"]
        assert texts[channel]["url"].startswith("https://")
    assert len(texts["push"]["title"]) <= 65
    assert len(texts["push"]["text"]) <= 178
    at_most = rendered(event_type, with_texts(event_type, longest))["push"]
    # Web Push, FCM and APNs carry 4 kB, keys and ids included.
    assert len("".join(at_most.values()).encode()) < 2000


@each_type
def test_what_is_spoken_is_short_and_made_for_the_ear(event_type: EventType) -> None:
    for locale in ("en", "en-US", "fr"):
        for payload in payloads(event_type):
            text = rendered(event_type, payload, locale=locale)["voice"]["text"]
            assert text.startswith("This is Acme. ")
            assert text.endswith((".", "!"))
            assert len(text) <= 250
            assert not re.search(r"://|www\.|\bhttp|\d{4}-\d\d-\d\d|[“”\n]|press", text)


def test_times_are_spoken_in_the_recipients_zone() -> None:
    event_type = CATALOGUE["task.due_soon"]
    tokyo = rendered(event_type, timezone="Asia/Tokyo")["voice"]["text"]
    assert tokyo == (
        "This is Acme. Your task, Send the signed contract, is due on Saturday, June 6 at 12:00 AM."
    )


class Balance(HTMLParser):
    """Raises where a tag is closed that was not the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@each_type
def test_the_mail_is_well_formed_styled_and_small(event_type: EventType) -> None:
    html = rendered(event_type, unsubscribe_url="https://n.example/u")["email"]["html"]
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    assert not re.search(r"<(h1|p|ul|li)>|class=\"button\"", html)
    assert 'href="https://n.example/u"' in html
    assert len(html) < 100_000  # Gmail clips a mail at 102 kB
    plain = rendered(event_type)["email"]
    assert "nsubscribe" not in plain["html"] + plain["text"]


def test_dunning_changes_its_tone_when_there_is_no_next_try() -> None:
    event_type = CATALOGUE["payment.failed"]
    first = rendered(event_type, {**event_type.example, "attempt": 1})
    last = rendered(event_type, {**event_type.example, "attempt": 4, "next_retry_at": None})
    assert first["email"]["subject"] == "Your payment of €49.00 did not go through"
    assert last["email"]["subject"] == "Last notice: €49.00 for invoice 2026-0187 is unpaid"
    assert "We will try again" in first["email"]["text"]
    assert "We will not try again" in last["email"]["text"]


def test_a_reminder_says_the_text_that_was_written_for_it() -> None:
    event_type = CATALOGUE["calendar.event_reminder"]
    content = {"text": "Two things to bring: slides, coffee.", "model": "m"}
    parts = rendered(event_type, {**event_type.example, "content": content})
    assert parts[SHORT]["text"] == content["text"]


def test_an_incident_is_acknowledged_by_sms_too() -> None:
    incident = CATALOGUE["incident.opened"]
    link = "https://notify.example.org/a/" + "x" * 43
    text = compile_template(incident.templates[SHORT]).render(
        sample_context(incident.example, acknowledge_url=link)
    )["text"]
    assert text.endswith(f" {link}")
    assert sms.size(text).segments <= 2
    assert rendered(incident)[SHORT]["text"].endswith(f" {incident.example['url']}")
