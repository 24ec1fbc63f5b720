"""A SQL function called on whatever connection a producer has, in the transaction it stands in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


class SqlFunction:
    """columns: what it returns. types: of its arguments, in their order."""

    def __init__(self, name: str, columns: str, types: Sequence[str]) -> None:
        def call(place: Callable[[int], str]) -> str:
            given = ", ".join(f"CAST({place(i)} AS {kind})" for i, kind in enumerate(types))
            return f"SELECT {columns} FROM {name}({given})"

        self._percent = call(lambda _: "%s")
        self._named = call(lambda i: f":p{i}")

    def row(self, connection: Any, arguments: tuple[Any, ...]) -> Any:
        """The one row it returns.

        connection: a SQLAlchemy `Session` or `Connection`, a psycopg connection, or Django's.
        """
        is_sqlalchemy = any(
            b.__module__.startswith("sqlalchemy.") for b in type(connection).__mro__
        )
        needed = "execute" if is_sqlalchemy else "cursor"
        if _is_async(connection) or not hasattr(connection, needed):
            raise _wrong(
                "a SQLAlchemy Session or Connection, a psycopg connection, or Django's", connection
            )
        if is_sqlalchemy:
            return connection.execute(self._text(), _by_name(arguments)).one()
        with connection.cursor() as cursor:
            cursor.execute(self._percent, arguments)
            return _values(cursor.fetchone())

    async def row_async(self, connection: Any, arguments: tuple[Any, ...]) -> Any:
        """The same on an `AsyncSession`, an `AsyncConnection` or an async psycopg connection."""
        if sync_part(connection) is not None:
            return (await connection.execute(self._text(), _by_name(arguments))).one()
        if not (_is_async(connection) and hasattr(connection, "cursor")):
            raise _wrong(
                "an AsyncSession, an open AsyncConnection or an async psycopg connection",
                connection,
            )
        async with connection.cursor() as cursor:
            await cursor.execute(self._percent, arguments)
            return _values(await cursor.fetchone())

    def _text(self) -> Any:
        from sqlalchemy import text

        return text(self._named)


def sync_part(connection: Any) -> Any:
    """What an async connection of SQLAlchemy's works with; None for any other."""
    return getattr(connection, "sync_session", None) or getattr(connection, "sync_connection", None)


def _is_async(connection: Any) -> bool:
    """Whether it is a session or a connection that has to be awaited."""
    return hasattr(type(connection), "__aenter__")


def _wrong(expected: str, given: Any) -> TypeError:
    return TypeError(f"connection: expected {expected}, not {type(given).__name__}")


def _values(row: Any) -> Any:
    """The row of a connection whose rows may be mappings."""
    return tuple(row.values()) if isinstance(row, Mapping) else row


def _by_name(arguments: tuple[Any, ...]) -> dict[str, Any]:
    return {f"p{i}": value for i, value in enumerate(arguments)}
