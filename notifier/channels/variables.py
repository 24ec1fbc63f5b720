"""Reading `NOTIFIER_…` variables: each fault names the variable and what was expected."""

from collections.abc import Mapping
from pathlib import Path

from notifier.channels import egress
from notifier.errors import SettingError

PUBLIC_URL = "NOTIFIER_PUBLIC_URL"
"""The one variable that providers share: where the world reaches our API."""


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


def networks(environment: Mapping[str, str], variable: str) -> tuple[egress.Network, ...]:
    """The networks named; none where it is unset."""
    try:
        return egress.parse_networks(environment.get(variable, ""))
    except ValueError as fault:
        raise SettingError(
            variable, "a comma list of networks, such as 127.0.0.0/8,::1/128"
        ) from fault


def callback_url(environment: Mapping[str, str], provider: str) -> str | None:
    """Where the provider may call us back; None where nobody said how we are reached."""
    public = text(environment, PUBLIC_URL)
    return f"{public.rstrip('/')}/webhooks/{provider}" if public else None


def together(environment: Mapping[str, str], *needed: str) -> list[str] | None:
    """The values of variables that only work together; None where none of them is set."""
    given = {name: value for name in needed if (value := text(environment, name)) is not None}
    if not given:
        return None
    missing = [name for name in needed if name not in given]
    if missing:
        first, *others = missing
        too = f" (and {', '.join(others)} too)" if others else ""
        raise SettingError(first, f"a value{too}, because of {', '.join(given)}")
    return list(given.values())
