"""Stands: something on loopback that a provider under test sends to.

A provider's own test, `test_<name>.py`, has a function `stand` that makes one in a folder; the
contract suite finds it there.
"""

import importlib
import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a provider under test sends to.

    environment: what configures the provider. sent: how many messages went out so far.
    address: one that is good here, where it is not like any other of its channel.
    """

    environment: dict[str, str]
    sent: Callable[[], int]
    address: str | None = None


def stand_of(provider: str) -> Callable[[Path], AbstractContextManager[Stand]]:
    """How to make the stand of a provider. Raises LookupError where its test has none."""
    where = f"tests.channels.test_{provider}"
    module = importlib.import_module(where) if importlib.util.find_spec(where) else None
    made: Callable[[Path], AbstractContextManager[Stand]] | None = getattr(module, "stand", None)
    if made is None:
        raise LookupError(f"no `stand` for {provider} in tests/channels/test_{provider}.py")
    return made
