"""Alembic's entry: the connection is the caller's (`notifier.store.migrate`)."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema="notifier",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
