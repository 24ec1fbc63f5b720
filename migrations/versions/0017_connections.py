"""Tenants' connections to accounts at vendors."""

from migrations.source import drop_functions, drop_tables, install, run, run_file

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

FUNCTION = "use_pending_connection(bytea, text)"


def upgrade() -> None:
    run_file("versions/0017_connections.sql")
    install("connections", 1)
    run(f"REVOKE ALL ON FUNCTION notifier.{FUNCTION} FROM PUBLIC")
    run(f"GRANT EXECUTE ON FUNCTION notifier.{FUNCTION} TO notifier_engine, notifier_api")
    for table in ("connections", "pending_connections"):
        run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON notifier.{table} TO notifier_engine")
        run(f"ALTER TABLE notifier.{table} ENABLE ROW LEVEL SECURITY")
        run(f"ALTER TABLE notifier.{table} FORCE ROW LEVEL SECURITY")
        run(f"CREATE POLICY engine ON notifier.{table} TO notifier_engine USING (true)")
        run(f"CREATE POLICY owner ON notifier.{table} TO CURRENT_USER USING (true)")
        run(
            f"CREATE POLICY tenant ON notifier.{table} TO notifier_api "
            "USING (tenant_id = current_setting('notifier.tenant')::uuid)"
        )
    run("GRANT SELECT, INSERT, UPDATE ON notifier.connections TO notifier_api")
    run("GRANT SELECT, INSERT ON notifier.pending_connections TO notifier_api")


def downgrade() -> None:
    drop_functions("use_pending_connection")
    drop_tables("connections", "pending_connections")
