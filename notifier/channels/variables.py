"""Reading `NOTIFIER_…` variables: each fault names the variable and what was expected."""

from collections.abc import Mapping
from pathlib import Path

from notifier.errors import SettingError


def text(environment: Mapping[str, str], variable: str) -> str | None:
    """The value without surrounding blanks; None where it is unset or empty."""
    return environment.get(variable, "").strip() or None


def whole(environment: Mapping[str, str], variable: str, default: int, low: int, high: int) -> int:
    """A whole number between `low` and `high`."""
    value = text(environment, variable)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and low <= int(value[:12]) <= high):
        raise SettingError(variable, f"a whole number from {low} to {high}")
    return int(value)


def one_of(
    environment: Mapping[str, str], variable: str, default: str, words: tuple[str, ...]
) -> str:
    """One of `words`."""
    value = text(environment, variable)
    if value is None:
        return default
    if value.lower() not in words:
        raise SettingError(variable, "one of " + ", ".join(words))
    return value.lower()


def existing_file(environment: Mapping[str, str], variable: str) -> str | None:
    """The path of a file that can be read."""
    value = text(environment, variable)
    if value is not None and not Path(value).is_file():
        raise SettingError(variable, "the path of a file that exists")
    return value
