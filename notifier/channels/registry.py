"""Finds the providers and decides which of them carries each channel.

A provider is found because its file is in this package: nothing else lists it.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import notifier.channels
from notifier.channels.contract import Provider
from notifier.errors import SettingError
from notifier.words import Channel

PROVIDERS = "NOTIFIER_PROVIDERS"
"""`channel=provider`, separated by commas; `*` names all channels not named themselves. Several
providers, joined by `+`, stand in for each other in this order."""

FALLBACK = "sandbox"


@cache
def providers() -> dict[str, type[Provider]]:
    """Every provider of the package by its name, in the order of names."""
    found: dict[str, type[Provider]] = {}
    for module in pkgutil.iter_modules(notifier.channels.__path__, "notifier.channels."):
        members = vars(importlib.import_module(module.name)).values()
        for kind in members:
            if (
                inspect.isclass(kind)
                and issubclass(kind, Provider)
                and not inspect.isabstract(kind)
                and kind.__module__ == module.name
            ):
                if kind.name in found:
                    raise TypeError(f"two providers are named {kind.name!r}")
                found[kind.name] = kind
    return dict(sorted(found.items()))


def configured(environment: Mapping[str, str]) -> dict[str, Provider]:
    """A new instance of every provider that the environment configures, by name.

    Raises SettingError naming the variable that is wrong.
    """
    made = {name: kind.from_environment(environment) for name, kind in providers().items()}
    return {name: provider for name, provider in made.items() if provider is not None}


def choose(environment: Mapping[str, str]) -> dict[Channel, tuple[Provider, ...]]:
    """The providers of every channel, the first of which carries it while it works: those named in
    NOTIFIER_PROVIDERS, else all that are configured and really send, by name.

    The rest is the sandbox's where no vendor is configured at all, and nobody's where one is: what
    an installation that really sends only captured would look as if it had been sent.
    A provider of several channels is one instance. Raises SettingError.
    """
    named = named_by(environment)
    available = configured(environment)
    unset = configured({})
    rest = () if available.keys() - unset.keys() else (available[FALLBACK],)
    chosen: dict[Channel, tuple[Provider, ...]] = {}
    for channel in Channel:
        names = named.get(channel) or [
            name
            for name, provider in available.items()
            if channel in provider.channels and not provider.stand_in
        ]
        for name in names:
            if name not in available:
                required = providers()[name].variables()[0]
                raise SettingError(PROVIDERS, f"{name} to be configured ({required} is not set)")
            if channel not in available[name].channels:
                raise SettingError(PROVIDERS, f"{name} to be configured for {channel}")
        chosen[channel] = tuple(available[name] for name in names) or rest
    used = {provider for chain in chosen.values() for provider in chain}
    for provider in (*available.values(), *unset.values()):
        if provider not in used:
            provider.close()
    return chosen


@contextmanager
def chosen(environment: Mapping[str, str]) -> Iterator[dict[Channel, tuple[Provider, ...]]]:
    """What `choose` gives, to look at; closed in the end."""
    chains = choose(environment)
    try:
        yield chains
    finally:
        for provider in {provider for chain in chains.values() for provider in chain}:
            provider.close()


def named_by(environment: Mapping[str, str]) -> dict[Channel, list[str]]:
    """The names NOTIFIER_PROVIDERS gives, checked against the channels they can carry.

    Raises SettingError.
    """
    named: dict[str, list[str]] = {}
    for entry in environment.get(PROVIDERS, "").split(","):
        if not entry.strip():
            continue
        word, equals, chain = (part.strip() for part in entry.partition("="))
        if not equals:
            form = "channel=provider (email=smtp, or *=sandbox for all channels)"
            raise SettingError(PROVIDERS, f"{form}, not {word!r}")
        if word != "*" and word not in set(Channel):
            raise SettingError(PROVIDERS, f"channels out of *, {', '.join(Channel)}, not {word!r}")
        names = [name.strip() for name in chain.split("+")]
        for name in names:
            if name not in providers():
                known = ", ".join(providers())
                raise SettingError(PROVIDERS, f"{word}= one of {known}, not {name!r}")
            if names.count(name) > 1:
                raise SettingError(PROVIDERS, f"{word}= {name} once only")
        if word in named:
            raise SettingError(PROVIDERS, f"{word} once only")
        named[word] = names
    result: dict[Channel, list[str]] = {}
    for channel in Channel:
        names = named.get(channel, named.get("*", []))
        for name in names:
            if channel not in providers()[name].channels:
                able = ", ".join(n for n, kind in providers().items() if channel in kind.channels)
                raise SettingError(PROVIDERS, f"{channel}= one of {able}, not {name!r}")
        if names:
            result[channel] = names
    return result
