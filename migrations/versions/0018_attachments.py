"""Files that messages carry."""

from migrations.source import drop_functions, drop_tables, install, run, run_file

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

PRODUCERS = (
    "attach(text, text, text, bytea)",
    "attach_file(uuid, text, text, bytea)",
)
ENGINE = (*PRODUCERS, "attachments_problem(uuid, jsonb)")


def upgrade() -> None:
    run_file("versions/0018_attachments.sql")
    install("attach", 1)
    install("emit", 3)
    for function in ENGINE:
        run(f"REVOKE ALL ON FUNCTION notifier.{function} FROM PUBLIC")
        run(f"GRANT EXECUTE ON FUNCTION notifier.{function} TO notifier_engine")
    for function in PRODUCERS:
        run(f"GRANT EXECUTE ON FUNCTION notifier.{function} TO notifier_producer, notifier_api")
    run("GRANT SELECT, INSERT, UPDATE, DELETE ON notifier.attachments TO notifier_engine")
    run("ALTER TABLE notifier.attachments ENABLE ROW LEVEL SECURITY")
    run("ALTER TABLE notifier.attachments FORCE ROW LEVEL SECURITY")
    run("CREATE POLICY engine ON notifier.attachments TO notifier_engine USING (true)")
    run("CREATE POLICY owner ON notifier.attachments TO CURRENT_USER USING (true)")


def downgrade() -> None:
    drop_functions("attach", "attach_file", "attachments_problem")
    run("ALTER TABLE notifier.notification_events DROP COLUMN attachments")
    install("emit", 2)
    drop_tables("attachments")
