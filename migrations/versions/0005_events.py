"""The event log, its idempotency keys and cancellations."""

from migrations.source import drop_tables, run_file

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("notification_events", "idempotency_keys", "event_cancellations")


def upgrade() -> None:
    run_file("versions/0005_events.sql")


def downgrade() -> None:
    drop_tables(*reversed(TABLES))
