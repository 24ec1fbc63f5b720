"""Pauses by tenant, channel, provider and event type."""

from migrations.source import drop_functions, drop_tables, install, run, run_file

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

FUNCTIONS = (
    "pause(uuid, text, text, text, text, text, timestamptz)",
    "resume(uuid, uuid, text)",
)


def upgrade() -> None:
    run_file("versions/0013_pauses.sql")
    install("pauses", 1)
    for function in FUNCTIONS:
        run(f"REVOKE ALL ON FUNCTION notifier.{function} FROM PUBLIC")
        run(f"GRANT EXECUTE ON FUNCTION notifier.{function} TO notifier_engine, notifier_api")
    run("GRANT SELECT, INSERT, UPDATE, DELETE ON notifier.pauses TO notifier_engine")
    run("ALTER TABLE notifier.pauses ENABLE ROW LEVEL SECURITY")
    run("ALTER TABLE notifier.pauses FORCE ROW LEVEL SECURITY")
    run("CREATE POLICY engine ON notifier.pauses TO notifier_engine USING (true)")
    run("CREATE POLICY owner ON notifier.pauses TO CURRENT_USER USING (true)")
    run(
        "CREATE POLICY tenant ON notifier.pauses TO notifier_api "
        "USING (tenant_id = current_setting('notifier.tenant')::uuid)"
    )
    run("GRANT SELECT ON notifier.pauses TO notifier_api")


def downgrade() -> None:
    drop_functions("pause", "resume")
    run("UPDATE notifier.dispatches SET due_at = now() WHERE pause_id IS NOT NULL")
    run("ALTER TABLE notifier.dispatches DROP COLUMN pause_id")
    drop_tables("pauses")
