"""Keep a file in the caller's own transaction, for the e-mails of events that name it.

All rules are in the SQL function `notifier.attach`. This module stays light: producers import it.
"""

import mimetypes
import uuid
from typing import Any

from notifier.errors import REFUSALS, InvalidAttachment
from notifier.sql_function import SqlFunction

__all__ = ["attach", "attach_async"]

_ATTACH = SqlFunction(
    "notifier.attach",
    "attachment_id, error_code, error_field, error_expected",
    ("text", "text", "text", "bytea"),
)
_LARGEST = 7_000_000
_UNKNOWN = "application/octet-stream"
_ENDS = mimetypes.MimeTypes(filenames=())
"""Python's own table, not that of the machine: the same name means the same everywhere."""


def attach(
    connection: Any,
    content: bytes,
    *,
    tenant: uuid.UUID | str,
    name: str,
    media_type: str | None = None,
) -> uuid.UUID:
    """Keep a file in the transaction of `connection`, which this neither begins nor ends; its id.

    The same file, name and media type are kept once: the id is the same each time.

    connection: as of `emit`.
    content: 1 to 7,000,000 bytes. name: as its reader is to see it, of 1 to 255 bytes in UTF-8,
        without slashes and control characters. media_type: without parameters; by default what the
        end of the name says.

    Another transaction that keeps the same new file meanwhile waits for this one's end.

    Raises a subclass of `notifier.errors.Refused` that names the field; then nothing was written.
    """
    return _id(_ATTACH.row(connection, _arguments(content, tenant, name, media_type)))


async def attach_async(
    connection: Any,
    content: bytes,
    *,
    tenant: uuid.UUID | str,
    name: str,
    media_type: str | None = None,
) -> uuid.UUID:
    """`attach` for an `AsyncSession`, an `AsyncConnection` or an async psycopg connection."""
    return _id(await _ATTACH.row_async(connection, _arguments(content, tenant, name, media_type)))


def _arguments(
    content: bytes, tenant: uuid.UUID | str, name: str, media_type: str | None
) -> tuple[Any, ...]:
    # What Postgres can not hold would break the caller's transaction instead of being refused.
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidAttachment("name", "text that is valid Unicode") from None
    if "\0" in name:
        raise InvalidAttachment("name", "the name of a file, without control characters")
    if not isinstance(content, bytes | bytearray | memoryview):
        raise InvalidAttachment("content", "bytes")
    if not 1 <= len(content) <= _LARGEST:
        raise InvalidAttachment("content", f"1 to {_LARGEST} bytes")
    if media_type is None:
        media_type, compressed = _ENDS.guess_type(f"./{name}")
        media_type = _UNKNOWN if compressed or media_type is None else media_type
    if not media_type.isascii() or "\0" in media_type:
        raise InvalidAttachment("media_type", "a media type such as application/pdf")
    return str(tenant), name, media_type, bytes(content)


def _id(row: Any) -> uuid.UUID:
    attachment_id, code, field, expected = row
    if code is not None:
        raise REFUSALS[code](field, expected)
    return attachment_id if isinstance(attachment_id, uuid.UUID) else uuid.UUID(attachment_id)
