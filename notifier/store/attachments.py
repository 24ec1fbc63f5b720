"""Files that messages carry."""

import uuid
from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection


class File(NamedTuple):
    name: str
    media_type: str
    content: bytes


def sizes(connection: Connection, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, int]:
    """The bytes of each file that is there."""
    rows = connection.exec_driver_sql(
        "SELECT id, length(content) FROM notifier.attachments WHERE id = ANY(%s)", (list(ids),)
    )
    return {row[0]: row[1] for row in rows}


def load(connection: Connection, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, File]:
    """The files by id; what is gone is missing."""
    rows = connection.exec_driver_sql(
        "SELECT id, name, media_type, content FROM notifier.attachments WHERE id = ANY(%s)",
        (list(ids),),
    )
    return {row[0]: File(*row[1:]) for row in rows}
