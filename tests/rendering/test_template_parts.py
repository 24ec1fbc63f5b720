"""Which parts the template of each channel has, and the page that tells authors."""

import re
from pathlib import Path

import pytest

from notifier.rendering import (
    PARTS,
    SHORT,
    RenderError,
    check_parts,
    check_rendered,
    compile_template,
)
from notifier.rendering.filters import FILTERS
from notifier.words import Channel

PAGE = (Path(__file__).parents[2] / "docs" / "templates.md").read_text()


def test_every_channel_but_the_webhook_has_parts() -> None:
    assert set(PARTS) == {*Channel, SHORT} - {Channel.WEBHOOK}


@pytest.mark.parametrize("channel", PARTS)
def test_all_of_a_channels_parts_fit_and_each_required_one_is_missed(channel: str) -> None:
    has = PARTS[channel]
    every = dict.fromkeys([*has.required, *has.optional], "x")
    assert check_parts(channel, every) == []
    least = [*has.required, *(["html"] if channel == Channel.EMAIL else [])]
    assert check_parts(channel, dict.fromkeys(least, "x")) == []
    for name in has.required:
        (problem,) = check_parts(channel, {k: v for k, v in every.items() if k != name})
        assert problem == f"{name} is missing: {channel} has {has}"


def test_a_url_is_one_line_and_longer_than_a_subject() -> None:
    template = compile_template({"url": "\n{{ x }}\n"})
    assert template.render({"x": "https://example.com/" + "a" * 1980})["url"].endswith("a")
    with pytest.raises(RenderError, match="longer than 2048"):
        template.render({"x": "x" * 2100})


@pytest.mark.parametrize("badge", ["", "0", "7", "99999"])
def test_a_badge_is_a_whole_number_or_absent(badge: str) -> None:
    assert check_rendered(Channel.PUSH, {"text": "Due", "badge": badge}) == []


@pytest.mark.parametrize("badge", ["-1", "1.5", "12,480", "100000", "many", "٣", "²"])
def test_what_is_no_badge_is_told(badge: str) -> None:
    (problem,) = check_rendered(Channel.PUSH, {"text": "Due", "badge": badge})
    assert problem == "badge is no whole number from 0 to 99999"


def test_a_badge_is_one_line() -> None:
    assert compile_template({"badge": "\n{{ x }}\n"}).render({"x": 3}) == {"badge": "3"}


def test_a_text_that_is_too_long_to_read_aloud_is_told() -> None:
    assert check_rendered(Channel.VOICE, {"text": "x" * 3000}) == []
    (problem,) = check_rendered(Channel.VOICE, {"text": "x" * 3001})
    assert problem == "text has 3001 characters, and 3000 is the most that is read aloud"


def test_the_page_tells_the_parts_of_every_channel() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| `")]
    told = {
        name: re.findall(r"`(\w+)`", row[2])
        for row in rows
        for name in re.findall(r"`(\w+)`", row[1])
        if name in PARTS
    }
    assert told == {name: [*has.required, *has.optional] for name, has in PARTS.items()}


def test_the_page_names_every_filter() -> None:
    assert [name for name in FILTERS if f"`{name}`" not in PAGE] == []
