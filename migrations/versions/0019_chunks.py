"""Calls travel together, as many as a worker announces at once."""

from migrations.source import install

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install("words", 2)


def downgrade() -> None:
    install("words", 1)
