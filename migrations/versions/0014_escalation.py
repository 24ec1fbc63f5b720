"""Escalation, acknowledgements, and the magic links that acknowledge.

And what is bound to a provider is packed no more with what is not.
"""

from migrations.source import drop_functions, drop_tables, install, run, run_file

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

ENGINE = (
    "escalation_problem(jsonb)",
    "fan_out_page(notifier.notification_events, int, uuid, int)",
)
BOTH = (
    "acknowledge(uuid, uuid, uuid, text)",
    "use_magic_link(bytea)",
    "magic_link_state(bytea)",
)
COLUMNS = (
    ("event_types", "escalation"),
    ("notification_events", "escalation"),
    ("dispatches", "step"),
)


def upgrade() -> None:
    run_file("versions/0014_escalation.sql")
    for name, version in (("fan_out", 2), ("emit", 2), ("relay", 2), ("acknowledge", 1)):
        install(name, version)
    run("DROP FUNCTION notifier.fan_out_page(notifier.notification_events, uuid, int)")
    for function in (*ENGINE, *BOTH):
        run(f"REVOKE ALL ON FUNCTION notifier.{function} FROM PUBLIC")
        run(f"GRANT EXECUTE ON FUNCTION notifier.{function} TO notifier_engine")
    for function in BOTH:
        run(f"GRANT EXECUTE ON FUNCTION notifier.{function} TO notifier_api")
    run(
        "GRANT SELECT, INSERT, UPDATE, DELETE "
        "ON notifier.acknowledgements, notifier.magic_links TO notifier_engine"
    )
    run("ALTER TABLE notifier.acknowledgements ENABLE ROW LEVEL SECURITY")
    run("ALTER TABLE notifier.acknowledgements FORCE ROW LEVEL SECURITY")
    run("CREATE POLICY engine ON notifier.acknowledgements TO notifier_engine USING (true)")
    run("CREATE POLICY owner ON notifier.acknowledgements TO CURRENT_USER USING (true)")
    run(
        "CREATE POLICY tenant ON notifier.acknowledgements TO notifier_api "
        "USING (tenant_id = current_setting('notifier.tenant')::uuid)"
    )
    run("GRANT SELECT ON notifier.acknowledgements TO notifier_api")


def downgrade() -> None:
    # Steps to come are forgotten: the version before knows none.
    run("DELETE FROM notifier.dispatches WHERE step > 0")
    drop_functions(
        "acknowledge",
        "use_magic_link",
        "magic_link_state",
        "escalation_problem",
        "fan_out_page",
    )
    for table, column in COLUMNS:
        run(f"ALTER TABLE notifier.{table} DROP COLUMN {column}")
    for name in ("fan_out", "emit", "relay"):
        install(name, 1)
    run(
        "REVOKE ALL ON FUNCTION "
        "notifier.fan_out_page(notifier.notification_events, uuid, int) FROM PUBLIC"
    )
    run(
        "GRANT EXECUTE ON FUNCTION "
        "notifier.fan_out_page(notifier.notification_events, uuid, int) TO notifier_engine"
    )
    drop_tables("acknowledgements", "magic_links")
