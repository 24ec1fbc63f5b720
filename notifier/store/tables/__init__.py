"""The tables as SQLAlchemy metadata; a test holds the migrations equal to it."""

from notifier.store.tables import audience, engine, intake
from notifier.store.tables.base import SCHEMA, metadata

PARTITIONED = tuple(
    table.name
    for table in metadata.sorted_tables
    if table.dialect_options["postgresql"]["partition_by"]
)

__all__ = ["PARTITIONED", "SCHEMA", "audience", "engine", "intake", "metadata"]
