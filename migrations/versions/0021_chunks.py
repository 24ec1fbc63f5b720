"""Messages and calls are announced fifty at a time, and travel in chunks to match."""

from migrations.source import install

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install("words", 3)


def downgrade() -> None:
    install("words", 2)
