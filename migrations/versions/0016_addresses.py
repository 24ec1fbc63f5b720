"""Addresses of push, Slack, Teams and Apprise are checked where they enter."""

from migrations.source import install

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install("address_problem", 2)


def downgrade() -> None:
    install("address_problem", 1)
