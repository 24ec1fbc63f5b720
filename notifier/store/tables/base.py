"""What all tables share: the schema, the column kinds, and CHECKs made from the enums."""

from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Column, MetaData, Text, text
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID

SCHEMA = "notifier"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    },
)

TimestampTz = TIMESTAMP(timezone=True)
Uuid = UUID(as_uuid=True)

BY_ID: dict[str, Any] = {"postgresql_partition_by": "RANGE (id)"}
BY_DELIVERY: dict[str, Any] = {"postgresql_partition_by": "RANGE (delivery_id)"}


def one_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    """A CHECK that `column` holds one of the enum's words."""
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def new_id() -> Column[object]:
    """A time-ordered id (UUIDv7) made by the server."""
    return Column("id", Uuid, primary_key=True, server_default=text("notifier.new_id()"))


def made_at(name: str = "created_at") -> Column[object]:
    return Column(name, TimestampTz, nullable=False, server_default=text("now()"))


def required(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)
