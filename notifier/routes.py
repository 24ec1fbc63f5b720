"""Which providers a tenant wants for a channel, where it wants others than the installation."""

import uuid
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from notifier.channels import registry
from notifier.errors import InvalidValue
from notifier.routing import Way
from notifier.store import routes
from notifier.words import Channel

HEAVIEST = 1000


def parse(words: Sequence[str]) -> list[Way]:
    """A route as it is written: a word for each place, `smtp` or, shared, `ses:3,sendgrid:1`.

    Raises `InvalidValue` for what can not be read.
    """
    ways: list[Way] = []
    for place, word in enumerate(words):
        for part in word.split(","):
            provider, _, weight = part.strip().partition(":")
            if weight and not (weight.isascii() and weight.isdigit()):
                raise InvalidValue("route", f"a provider and a whole number, not {part!r}")
            ways.append(Way(provider, place, int(weight[:9] or 1)))
    return ways


def replace(
    connection: Connection, tenant: uuid.UUID, channel: Channel, ways: Sequence[Way]
) -> None:
    """Set the tenant's route for a channel, in the caller's transaction; an empty one takes its own
    away. Workers follow it within seconds.

    Raises `InvalidValue` for a provider that can not carry the channel, comes twice or weighs
    nothing.
    """
    able = [name for name, kind in registry.providers().items() if channel in kind.channels]
    names = [way.provider for way in ways]
    for way in ways:
        if way.provider not in able:
            raise InvalidValue("route", f"one of {', '.join(able)}, not {way.provider!r}")
        if names.count(way.provider) > 1:
            raise InvalidValue("route", f"{way.provider} once only")
        if not 1 <= way.weight <= HEAVIEST:
            raise InvalidValue("route", f"a weight from 1 to {HEAVIEST} for {way.provider}")
    routes.replace(connection, tenant, channel, [(w.provider, w.place, w.weight) for w in ways])


def listed(connection: Connection, tenant: uuid.UUID) -> dict[Channel, list[Way]]:
    """The tenant's own routes by channel."""
    found: dict[Channel, list[Way]] = {}
    for owner, channel, provider, place, weight in routes.load(connection):
        if owner == tenant:
            found.setdefault(channel, []).append(Way(provider, place, weight))
    return found


def absent(channel: Channel, ways: Sequence[Way], environment: Mapping[str, str]) -> list[str]:
    """Providers of a route that do not carry the channel in this environment; raises
    `SettingError` where it is wrong.
    """
    with registry.chosen(environment) as chosen:
        here = {provider.name for provider in chosen[channel]}
    return sorted({way.provider for way in ways} - here)


def written(ways: Sequence[Way]) -> list[str]:
    """A route as `parse` reads it; those that share a place by name."""
    return [
        ",".join(
            way.provider if way.weight == 1 else f"{way.provider}:{way.weight}"
            for way in sorted(ways, key=lambda way: way.provider)
            if way.place == place
        )
        for place in sorted({way.place for way in ways})
    ]
