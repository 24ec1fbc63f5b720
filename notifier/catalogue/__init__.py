"""The event types that ship: a folder each, named like the type, read once.

A folder holds `event.toml` (what the type is, its payload's schema and an example) and the
sources of its templates, named `<channel>.<part>.txt` or `.html`. `short` is what goes by SMS; a
push and a chat show what the inbox shows, and lead to `url.txt`. Registering them in a tenant is
the caller's business.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from notifier.catalogue.mail import compose_html, compose_text
from notifier.words import Channel, Lane

GLANCED = (Channel.PUSH, Channel.SLACK, Channel.TEAMS, Channel.APPRISE)
"""The channels that show the inbox's title and message."""
_LAYOUTS = ("layout.html", "layout.txt", "layout.voice.txt", "url.txt")


@dataclass(frozen=True, slots=True)
class EventType:
    """One shipped event type.

    channels: where it goes when neither the emit nor the recipient says otherwise.
    mutable: whether recipients may turn it off.
    escalation: who is asked next while nobody acknowledges it; empty: nobody.
    schema: of the payload; within `notifier.schema`'s subset.
    example: a payload that fits it.
    templates: sources by channel (or `short`) and part.
    """

    type: str
    description: str
    category: str
    lane: Lane
    mutable: bool
    escalation: tuple[Mapping[str, Any], ...]
    channels: tuple[Channel, ...]
    schema: Mapping[str, Any]
    example: Mapping[str, Any]
    templates: Mapping[str, Mapping[str, str]]


@lru_cache(maxsize=1)
def load() -> tuple[EventType, ...]:
    """Every shipped event type, by name. Read from the package, so it works from a wheel."""
    root = files(__name__)
    layouts = {name: _read(root / name) for name in _LAYOUTS}
    folders = [entry for entry in root.iterdir() if (entry / "event.toml").is_file()]
    return tuple(_event_type(folder, layouts) for folder in sorted(folders, key=_name))


def _event_type(folder: Traversable, layouts: Mapping[str, str]) -> EventType:
    sources = {each.name: _read(each).strip() for each in sorted(folder.iterdir(), key=_name)}
    facts = tomllib.loads(sources.pop("event.toml"))
    url = sources.pop("url.txt", layouts["url.txt"].strip())
    templates: dict[str, dict[str, str]] = {}
    for name, source in sources.items():
        channel, part = name.removesuffix(".txt").split(".")
        templates.setdefault(channel, {})[part] = source
    mail, voice, seen = templates["email"], templates["voice"], templates["inapp"]
    mail["text"] = compose_text(layouts["layout.txt"], mail["text"])
    mail["html"] = compose_html(layouts["layout.html"], mail["html"], seen["message"])
    voice["text"] = compose_text(layouts["layout.voice.txt"], voice["text"]).strip()
    for glanced in GLANCED:
        templates[glanced] = {"title": seen["title"], "text": seen["message"], "url": url}
    return EventType(
        type=folder.name,
        description=facts["description"],
        category=facts["category"],
        lane=Lane(facts["lane"]),
        mutable=facts["mutable"],
        escalation=tuple(facts.get("escalation", ())),
        channels=tuple(Channel(name) for name in facts["channels"]),
        schema=facts["schema"],
        example=facts["example"],
        templates=templates,
    )


def _read(file: Traversable) -> str:
    return file.read_text(encoding="utf-8")


def _name(entry: Traversable) -> str:
    return entry.name
