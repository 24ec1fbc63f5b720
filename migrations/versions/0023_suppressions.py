"""A tenant's suppressions are listed by time."""

from migrations.source import run

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(
        "CREATE INDEX suppressions_tenant_id_created_at_idx "
        "ON notifier.suppressions (tenant_id, created_at)"
    )


def downgrade() -> None:
    run("DROP INDEX notifier.suppressions_tenant_id_created_at_idx")
