"""Nobody counts how often a doubt was asked about."""

from migrations.source import run

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run("ALTER TABLE notifier.in_doubt DROP COLUMN asked")


def downgrade() -> None:
    run("ALTER TABLE notifier.in_doubt ADD COLUMN asked smallint NOT NULL DEFAULT 0")
