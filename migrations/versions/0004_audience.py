"""Recipients, their addresses, topics, subscriptions, preferences and suppressions."""

from migrations.source import drop_tables, run_file

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    "recipients",
    "contact_points",
    "topics",
    "topic_members",
    "notification_subscriptions",
    "user_notification_preferences",
    "suppressions",
)


def upgrade() -> None:
    run_file("versions/0004_audience.sql")


def downgrade() -> None:
    drop_tables(*reversed(TABLES))
