"""Who unsubscribes an address that is suppressed already is heard."""

from migrations.source import install

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    install("unsubscribe", 2)


def downgrade() -> None:
    install("unsubscribe", 1)
