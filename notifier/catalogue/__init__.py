"""The event types that ship: a folder each, named like the type, read once.

A folder holds `event.toml` (what the type is, its payload's schema and an example) and the
sources of its templates, named `<channel>.<part>.txt` or `.html`. `short` stands for every
channel that shows one short text. Registering them in a tenant is the caller's business.
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

SHORT = "short"
"""The template of the channels that have none of their own."""


@dataclass(frozen=True, slots=True)
class EventType:
    """One shipped event type.

    channels: where it goes when neither the emit nor the recipient says otherwise.
    mutable: whether recipients may turn it off.
    escalation: who is asked next while nobody acknowledges it; empty: nobody.
    schema: of the payload; within `notifier.schema`'s subset.
    example: a payload that fits it.
    templates: sources by channel (or `SHORT`) and part.
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
    layouts = {kind: _read(root / f"layout.{kind}") for kind in ("html", "txt")}
    folders = [entry for entry in root.iterdir() if (entry / "event.toml").is_file()]
    return tuple(_event_type(folder, layouts) for folder in sorted(folders, key=_name))


def _event_type(folder: Traversable, layouts: Mapping[str, str]) -> EventType:
    facts = tomllib.loads(_read(folder / "event.toml"))
    templates: dict[str, dict[str, str]] = {}
    for source in sorted(folder.iterdir(), key=_name):
        if source.name != "event.toml":
            channel, part = source.name.removesuffix(".txt").split(".")
            templates.setdefault(channel, {})[part] = _read(source).strip()
    mail = templates["email"]
    mail["text"] = compose_text(layouts["txt"], mail["text"])
    mail["html"] = compose_html(layouts["html"], mail["html"], templates["inapp"]["message"])
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
