"""What the API may do beyond its tenant's rows: look up a key, cancel, unsubscribe."""

from migrations.source import drop_functions, install, run

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

FUNCTIONS = (
    "authenticate(bytea)",
    "unsubscribe(uuid)",
    "cancel_begin(uuid, uuid, uuid, text)",
    "cancel_dispatch(uuid, uuid, uuid)",
    "cancel_counts(uuid, uuid)",
)

# Rows that name no tenant are the tenant's to whom what they point at belongs.
THROUGH = {
    "topic_members": "EXISTS (SELECT FROM notifier.topics t WHERE t.id = topic_id) "
    "AND EXISTS (SELECT FROM notifier.recipients r WHERE r.id = recipient_id)",
    "event_cancellations": "EXISTS (SELECT FROM notifier.notification_events e "
    "WHERE e.id = event_id)",
    "delivery_journal": "EXISTS (SELECT FROM notifier.notification_deliveries d "
    "WHERE d.id = delivery_id)",
}


def upgrade() -> None:
    for name in ("authenticate", "unsubscribe", "cancel"):
        install(name, 1)
    for function in FUNCTIONS:
        run(f"REVOKE ALL ON FUNCTION notifier.{function} FROM PUBLIC")
        run(f"GRANT EXECUTE ON FUNCTION notifier.{function} TO notifier_engine, notifier_api")
    for table, ours in THROUGH.items():
        run(f"ALTER TABLE notifier.{table} ENABLE ROW LEVEL SECURITY")
        run(f"ALTER TABLE notifier.{table} FORCE ROW LEVEL SECURITY")
        run(f"CREATE POLICY engine ON notifier.{table} TO notifier_engine USING (true)")
        run(f"CREATE POLICY owner ON notifier.{table} TO CURRENT_USER USING (true)")
        run(f"CREATE POLICY tenant ON notifier.{table} TO notifier_api USING ({ours})")
    run("GRANT SELECT, INSERT, DELETE ON notifier.topic_members TO notifier_api")
    run("GRANT SELECT ON notifier.event_cancellations, notifier.schema_version TO notifier_api")


def downgrade() -> None:
    run("REVOKE ALL ON notifier.event_cancellations, notifier.schema_version FROM notifier_api")
    run("REVOKE ALL ON notifier.topic_members FROM notifier_api")
    for table in THROUGH:
        for policy in ("engine", "owner", "tenant"):
            run(f"DROP POLICY {policy} ON notifier.{table}")
        run(f"ALTER TABLE notifier.{table} NO FORCE ROW LEVEL SECURITY")
        run(f"ALTER TABLE notifier.{table} DISABLE ROW LEVEL SECURITY")
    drop_functions(
        "authenticate", "unsubscribe", "cancel_begin", "cancel_dispatch", "cancel_counts"
    )
