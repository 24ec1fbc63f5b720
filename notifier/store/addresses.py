"""Addresses: what one has to be, and which are read back. Those that are secrets in themselves are
written and never shown.
"""

from sqlalchemy import Connection

from notifier.words import TRAITS, Channel

_SECRET = ", ".join(f"'{channel}'" for channel in Channel if TRAITS[channel].secret_address)


def shown(row: str) -> str:
    """SQL: the address of `row`, which has a channel too; NULL where it is a secret."""
    return f"CASE WHEN {row}.channel NOT IN ({_SECRET}) THEN {row}.address END"


def problem(connection: Connection, channel: Channel, address: str) -> str | None:
    """What an address should look like, where it can not be one of its channel, as emit asks."""
    expected: str | None = connection.exec_driver_sql(
        "SELECT notifier.address_problem(%s, %s)", (channel, address)
    ).scalar_one()
    return expected
