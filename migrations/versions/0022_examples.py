"""Event types keep the example that their templates are tried with."""

from migrations.source import run

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run("ALTER TABLE notifier.event_types ADD COLUMN example jsonb")


def downgrade() -> None:
    run("ALTER TABLE notifier.event_types DROP COLUMN example")
