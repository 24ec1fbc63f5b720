"""Tenants' own routes through the providers of a channel."""

from migrations.source import drop_tables, run, run_file

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("versions/0012_routes.sql")
    run("GRANT SELECT, INSERT, UPDATE, DELETE ON notifier.provider_routes TO notifier_engine")


def downgrade() -> None:
    run("ALTER TABLE notifier.dispatches DROP COLUMN provider")
    drop_tables("provider_routes")
