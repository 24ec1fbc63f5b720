"""Deliveries, their journal, dispatches and what stands beside them."""

from migrations.source import drop_tables, run_file

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = (
    "notification_deliveries",
    "delivery_journal",
    "dispatches",
    "dead_letters",
    "in_doubt",
    "provider_messages",
    "notifications",
    "admin_system_events",
    "sandbox_messages",
)


def upgrade() -> None:
    run_file("versions/0006_engine.sql")


def downgrade() -> None:
    drop_tables(*reversed(TABLES))
