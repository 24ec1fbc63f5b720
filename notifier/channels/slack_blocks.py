"""A message's parts as Block Kit, within Slack's limits.

https://docs.slack.dev/reference/block-kit/blocks
https://docs.slack.dev/reference/block-kit/block-elements/button-element
https://docs.slack.dev/messaging/formatting-message-text
"""

import re
from typing import Any

from notifier.channels.contract import Message

ACKNOWLEDGE = "acknowledge"
"""The `action_id` of the button; its `value` is the delivery's id."""

MOST_BLOCKS = 50
LONGEST_HEADER = 150
LONGEST_TEXT = 3000
LONGEST_FALLBACK = 4000
"""Characters of the text beside the blocks, which notifications show and screen readers say: what
Slack advises, of 40,000 it takes."""

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
LONGEST_LINK = 1400
"""Characters of a URL as it is written: two of them with their words fit one text."""

_WEB = re.compile(r"https?://[^\s|]+")


def compose(message: Message, *, button: bool) -> dict[str, Any]:
    """`text` and `blocks` of a message whose part `text` is not blank.

    button: whether a press would reach us; without it, only the link acknowledges.
    """
    title, text = message.parts.get("title", "").strip(), message.parts["text"].strip()
    url = message.parts.get("url", "").strip()
    links: list[str] = []
    if _WEB.fullmatch(url) and len(escape(url)) <= LONGEST_LINK:
        links.append(_link(url, "Open"))
    elif url:
        text = f"{text}\n{url}"
    ends: list[dict[str, Any]] = []
    if message.acknowledge_url is not None:
        words = "Acknowledge in the browser" if button else "Acknowledge"
        links.append(_link(message.acknowledge_url, words))
        if button:
            ends.append(_button(str(message.delivery_id)))
    if links:
        ends.insert(0, _section("  |  ".join(links)))
    blocks: list[dict[str, Any]] = []
    if title:
        blocks.append({"type": "header", "text": _plain(_cut(title, LONGEST_HEADER))})
    room = MOST_BLOCKS - len(blocks) - len(ends)
    blocks += [_section(piece) for piece in _pieces(text, room)]
    fallback = "\n".join(part for part in (title, text) if part)
    return {"text": _cut(fallback, LONGEST_FALLBACK), "blocks": blocks + ends}


def escape(text: str) -> str:
    """The three characters that Slack reads as markup, and no others."""
    return text.translate(_ESCAPES)


def _cut(text: str, most: int) -> str:
    """Escaped, and shortened where that is longer than `most`."""
    escaped = escape(text)
    return escaped if len(escaped) <= most else escaped[: _whole(escaped, most - 1)] + "…"


def _whole(escaped: str, most: int) -> int:
    """Where to cut within the first `most` characters so that no entity is cut in two."""
    at = escaped.rfind("&", max(0, most - 4), most)
    return most if at < 0 or ";" in escaped[at:most] else at


def _pieces(text: str, room: int) -> list[str]:
    """The text escaped, in at most `room` pieces cut at line ends or blanks where there are any."""
    rest = escape(text)
    found: list[str] = []
    while len(rest) > LONGEST_TEXT and len(found) < room - 1:
        at = rest.rfind("\n", 1, LONGEST_TEXT)
        if at < 0:
            at = rest.rfind(" ", 1, LONGEST_TEXT)
        if at < 0:
            at = _whole(rest, LONGEST_TEXT)
        found.append(rest[:at])
        rest = rest[at:].lstrip()
    if len(rest) > LONGEST_TEXT:
        rest = rest[: _whole(rest, LONGEST_TEXT - 1)] + "…"
    return [piece for piece in (*found, rest) if piece.strip()]


def _link(url: str, words: str) -> str:
    return f"<{escape(url)}|{words}>"


def _plain(escaped: str) -> dict[str, Any]:
    # `emoji` would make a picture of what stands between two colons, as in a time of day.
    return {"type": "plain_text", "text": escaped, "emoji": False}


def _section(escaped: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": escaped}}


def _button(value: str) -> dict[str, Any]:
    return {
        "type": "actions",
        "elements": [
            {
                "type": "button",
                "text": _plain("Acknowledge"),
                "style": "primary",
                "action_id": ACKNOWLEDGE,
                "value": value,
            }
        ],
    }
