"""Tenants and their API keys."""

from migrations.source import drop_tables, run_file

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = ("tenants", "api_keys")


def upgrade() -> None:
    run_file("versions/0002_tenants.sql")


def downgrade() -> None:
    drop_tables(*reversed(TABLES))
