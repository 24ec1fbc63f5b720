"""A tenant's own templates: the API reads them and the shared ones, and adds versions."""

from migrations.source import run

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

FUNCTIONS = ("pick_template(uuid, text, text, text)", "check_payload(jsonb, jsonb, text)")


def upgrade() -> None:
    run("ALTER TABLE notifier.templates ENABLE ROW LEVEL SECURITY")
    run("ALTER TABLE notifier.templates FORCE ROW LEVEL SECURITY")
    run("CREATE POLICY engine ON notifier.templates TO notifier_engine USING (true)")
    run("CREATE POLICY owner ON notifier.templates TO CURRENT_USER USING (true)")
    run(
        "CREATE POLICY shared ON notifier.templates FOR SELECT TO notifier_api "
        "USING (tenant_id IS NULL)"
    )
    run(
        "CREATE POLICY tenant ON notifier.templates TO notifier_api "
        "USING (tenant_id = current_setting('notifier.tenant')::uuid)"
    )
    run("GRANT INSERT ON notifier.templates TO notifier_api")
    for function in FUNCTIONS:
        run(f"GRANT EXECUTE ON FUNCTION notifier.{function} TO notifier_api")


def downgrade() -> None:
    for function in FUNCTIONS:
        run(f"REVOKE EXECUTE ON FUNCTION notifier.{function} FROM notifier_api")
    run("REVOKE INSERT ON notifier.templates FROM notifier_api")
    for policy in ("engine", "owner", "shared", "tenant"):
        run(f"DROP POLICY {policy} ON notifier.templates")
    run("ALTER TABLE notifier.templates NO FORCE ROW LEVEL SECURITY")
    run("ALTER TABLE notifier.templates DISABLE ROW LEVEL SECURITY")
