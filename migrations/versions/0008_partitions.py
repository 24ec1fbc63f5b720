"""The first partitions: this week's and three weeks ahead; the engine keeps adding to them."""

from migrations.source import run

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run("SELECT notifier.ensure_partitions(now(), now() + interval '3 weeks')")


def downgrade() -> None:
    """The partitions go with their tables."""
