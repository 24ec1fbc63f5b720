"""The shipped mails in a real browser: on a telephone and on a desk, in light and in dark."""

import html
import re
from pathlib import Path
from typing import Any

import pytest

from notifier.catalogue import EventType, load
from notifier.rendering import compile_template, sample_context
from tests import browser
from tests.catalogue.payloads import with_texts

PROGRAM = browser.find()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no browser (Debian, Ubuntu: apt install chromium)"
)

CATALOGUE = {event_type.type: event_type for event_type in load()}
WIDTHS = (320, 390, 768, 1280)
STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)
SMALLEST = 13
READABLE = 4.5
"""The contrast that WCAG 2.2 asks of text (1.4.3, AA)."""
TAPPABLE = 44
"""Pixels: WCAG 2.2, 2.5.5."""


def mail(event_type: EventType, payload: Any) -> str:
    context = sample_context(
        payload,
        unsubscribe_url="https://example.com/u/1" if event_type.mutable else None,
        acknowledge_url="https://example.com/a/1" if event_type.escalation else None,
    )
    return compile_template(event_type.templates["email"]).render(context)["html"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What there is to be seen of every mail, by type, kind, width and scheme."""
    pages = {}
    for name, event_type in CATALOGUE.items():
        usual = mail(event_type, event_type.example)
        kinds = {
            "usual": usual,
            # Most readers of mail drop what they do not know of style sheets, or all of them.
            "bare": STYLE.sub("", usual),
            "unbroken": mail(event_type, with_texts(event_type, lambda most: "W" * most)),
        }
        assert kinds["bare"] != usual
        for kind, source in kinds.items():
            for width in WIDTHS:
                for dark in (False, True):
                    if dark and kind == "bare":
                        continue
                    scheme = "dark" if dark else "light"
                    pages[f"{name} {kind} {width} {scheme}"] = (source, width, dark)
    assert PROGRAM is not None
    return browser.measure(PROGRAM, Path(tmp_path_factory.mktemp("browser")), pages)


@pytest.fixture(params=list(CATALOGUE))
def views(request: pytest.FixtureRequest, seen: dict[str, Any]) -> dict[str, Any]:
    """All views of one mail."""
    return {view: what for view, what in seen.items() if view.split()[0] == request.param}


def test_a_mail_fits_every_window(views: dict[str, Any]) -> None:
    assert len(views) == len(WIDTHS) * 5
    for view, what in views.items():
        assert str(what["width"]) == view.split()[2]
        assert what["overflow"] <= 0, view
        for text in what["texts"]:
            assert text["left"] >= 0, (view, text)
            assert text["right"] <= what["width"], (view, text)


def test_a_mail_can_be_read_in_light_and_in_dark(views: dict[str, Any]) -> None:
    for view, what in views.items():
        assert len(what["texts"]) >= 3, view
        for text in what["texts"]:
            assert text["size"] >= SMALLEST, (view, text)
            assert text["contrast"] >= READABLE, (view, text)


def test_dark_is_dark(views: dict[str, Any], seen: dict[str, Any]) -> None:
    def contrasts(view: str) -> list[float]:
        return [round(text["contrast"], 2) for text in views[view]["texts"]]

    for view in views:
        if view.endswith(" dark"):
            assert contrasts(view) != contrasts(view.replace(" dark", " light")), view


def test_what_is_to_be_tapped_is_large_enough(views: dict[str, Any]) -> None:
    for view, what in views.items():
        for link in what["links"]:
            if link["stands_alone"]:
                assert link["height"] >= TAPPABLE, (view, link)


def test_what_matters_is_seen_without_scrolling_far(views: dict[str, Any]) -> None:
    for view, what in views.items():
        if " usual 390 " in view:
            assert what["height"] < 1200, view
            assert any(html.unescape(text["text"]) for text in what["texts"][:1]), view
