"""Finds the providers and decides which of them carries each channel.

A provider is found because its file is in this package: nothing else lists it.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache

import notifier.channels
from notifier.channels.contract import Provider
from notifier.errors import SettingError
from notifier.words import Channel

PROVIDERS = "NOTIFIER_PROVIDERS"
"""`channel=provider`, separated by commas; `*` names all channels not named themselves."""

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


def choose(environment: Mapping[str, str]) -> dict[Channel, Provider]:
    """The provider of every channel: the one named in NOTIFIER_PROVIDERS, else the first by
    name that is configured and really sends, else the sandbox.

    A provider of several channels is one instance. Raises SettingError.
    """
    named = _named(environment)
    available = configured(environment)
    chosen: dict[Channel, Provider] = {}
    for channel in Channel:
        name = named.get(channel)
        if name is None:
            real = (
                known
                for known, provider in available.items()
                if channel in provider.channels and not provider.stand_in
            )
            name = next(real, FALLBACK)
        elif name not in available:
            required = providers()[name].variables()[0]
            raise SettingError(PROVIDERS, f"{name} to be configured ({required} is not set)")
        chosen[channel] = available[name]
    for provider in available.values():
        if provider not in chosen.values():
            provider.close()
    return chosen


def _named(environment: Mapping[str, str]) -> dict[Channel, str]:
    """The names NOTIFIER_PROVIDERS gives, checked against the channels they can carry."""
    named: dict[str, str] = {}
    for entry in environment.get(PROVIDERS, "").split(","):
        if not entry.strip():
            continue
        word, _, name = (part.strip() for part in entry.partition("="))
        if word != "*" and word not in set(Channel):
            raise SettingError(PROVIDERS, f"channels out of *, {', '.join(Channel)}, not {word!r}")
        if name not in providers():
            known = ", ".join(providers())
            raise SettingError(PROVIDERS, f"{word}= one of {known}, not {name!r}")
        if word in named:
            raise SettingError(PROVIDERS, f"{word} once only")
        named[word] = name
    result: dict[Channel, str] = {}
    for channel in Channel:
        name = named.get(channel, named.get("*", ""))
        if not name:
            continue
        if channel not in providers()[name].channels:
            able = ", ".join(n for n, kind in providers().items() if channel in kind.channels)
            raise SettingError(PROVIDERS, f"{channel}= one of {able}, not {name!r}")
        result[channel] = name
    return result
