"""Every shipped event type is complete, valid and readable in every channel."""

import re
from datetime import datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest

from notifier.catalogue import SHORT, EventType, load
from notifier.rendering import check_template, compile_template, sample_context
from notifier.schema import check_schema
from notifier.words import Channel, Lane

CATALOGUE = {event_type.type: event_type for event_type in load()}
each_type = pytest.mark.parametrize("event_type", CATALOGUE.values(), ids=list(CATALOGUE))

FORMATS = jsonschema.FormatChecker(formats=["email", "uuid", "date"])
FORMATS.checks("date-time", raises=ValueError)(
    lambda value: datetime.fromisoformat(str(value)).tzinfo is not None
)
FORMATS.checks("uri", raises=ValueError)(lambda value: bool(urlsplit(str(value)).scheme))

HOSTILE = "<script>alert('x') & more</script>"
# 3GPP TS 23.038: the basic alphabet counts one septet a character, the extension two.
GSM7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM7_EXTENSION = set("^{}\\[~]|€")


def rendered(
    event_type: EventType, payload: Any = None, **recipient: Any
) -> dict[str, dict[str, str]]:
    context = sample_context(payload or event_type.example, **recipient)
    return {
        channel: compile_template(parts).render(context)
        for channel, parts in event_type.templates.items()
    }


def hostile(value: Any, schema: Any) -> Any:
    """The value with every free text replaced."""
    if isinstance(value, dict):
        return {key: hostile(inner, schema["properties"][key]) for key, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner, schema["items"]) for inner in value]
    free = isinstance(value, str) and "format" not in schema and "enum" not in schema
    return HOSTILE if free else value


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
    assert {channel: sorted(parts) for channel, parts in event_type.templates.items()} == {
        "email": ["html", "subject", "text"],
        "inapp": ["message", "title"],
        SHORT: ["text"],
    }
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
    parts = rendered(event_type, hostile(event_type.example, event_type.schema))
    assert "<script" not in parts["email"]["html"]
    assert "&amp;lt;" not in parts["email"]["html"]
    for plain in (parts["email"]["text"], parts["email"]["subject"], parts["inapp"]["message"]):
        assert "&lt;" not in plain
        assert "&amp;" not in plain


@each_type
def test_the_short_text_fits_one_sms(event_type: EventType) -> None:
    for locale in ("en", "en-US", "fr"):
        text = rendered(event_type, locale=locale)[SHORT]["text"]
        assert set(text) <= GSM7 | GSM7_EXTENSION
        assert len(text) + sum(character in GSM7_EXTENSION for character in text) <= 160
        assert "\n" not in text


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
