"""What may be emitted, and the templates it is rendered with."""

from migrations.source import drop_tables, run_file

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ("event_types", "templates")


def upgrade() -> None:
    run_file("versions/0003_event_types.sql")


def downgrade() -> None:
    drop_tables(*reversed(TABLES))
