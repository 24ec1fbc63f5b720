"""Which addresses are read back: those that are secrets in themselves are written and never shown."""

from notifier.words import TRAITS, Channel

_SECRET = ", ".join(f"'{channel}'" for channel in Channel if TRAITS[channel].secret_address)


def shown(row: str) -> str:
    """SQL: the address of `row`, which has a channel too; NULL where it is a secret."""
    return f"CASE WHEN {row}.channel NOT IN ({_SECRET}) THEN {row}.address END"
