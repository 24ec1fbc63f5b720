"""Who may do what: the engine all work, the API one tenant's rows, producers emit only."""

from migrations.source import run

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BY_TENANT = (
    "api_keys",
    "recipients",
    "contact_points",
    "topics",
    "notification_subscriptions",
    "user_notification_preferences",
    "suppressions",
    "notification_events",
    "notification_deliveries",
    "dead_letters",
    "in_doubt",
    "notifications",
    "sandbox_messages",
)
"""Tables in which the API sees and changes the rows of its tenant only."""

EMIT = (
    "emit(text, text, jsonb, jsonb, jsonb)",
    "emit_notification_event(uuid, text, jsonb, jsonb, jsonb)",
)


def upgrade() -> None:
    run("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA notifier FROM PUBLIC")
    run("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA notifier TO notifier_engine")
    run("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA notifier TO notifier_engine")
    # An event is what was emitted: nothing but the fan-out's counts may change.
    run("REVOKE UPDATE, DELETE ON notifier.notification_events FROM notifier_engine")
    run(
        "GRANT UPDATE (fanned_out_at, matched, created, refused) "
        "ON notifier.notification_events TO notifier_engine"
    )
    run("REVOKE UPDATE, DELETE ON notifier.delivery_journal FROM notifier_engine")
    for function in EMIT:
        run(f"GRANT EXECUTE ON FUNCTION notifier.{function} TO notifier_producer, notifier_api")
    for table in BY_TENANT:
        run(f"ALTER TABLE notifier.{table} ENABLE ROW LEVEL SECURITY")
        run(f"ALTER TABLE notifier.{table} FORCE ROW LEVEL SECURITY")
        run(f"CREATE POLICY engine ON notifier.{table} TO notifier_engine USING (true)")
        # The functions that run as their owner must see what the engine sees.
        run(f"CREATE POLICY owner ON notifier.{table} TO CURRENT_USER USING (true)")
        run(
            f"CREATE POLICY tenant ON notifier.{table} TO notifier_api "
            "USING (tenant_id = current_setting('notifier.tenant')::uuid)"
        )
        run(f"GRANT SELECT ON notifier.{table} TO notifier_api")
    run(
        "GRANT INSERT, UPDATE, DELETE ON notifier.recipients, notifier.contact_points, "
        "notifier.topics, notifier.notification_subscriptions, "
        "notifier.user_notification_preferences, notifier.suppressions TO notifier_api"
    )
    run(
        "GRANT SELECT ON notifier.tenants, notifier.event_types, notifier.templates, "
        "notifier.delivery_journal TO notifier_api"
    )
    run(
        "GRANT EXECUTE ON FUNCTION notifier.new_id(), notifier.id_time(uuid), "
        "notifier.id_low(uuid), notifier.id_high(uuid), "
        "notifier.address_problem(text, text), notifier.json_problem(jsonb, int, text) "
        "TO notifier_api"
    )


def downgrade() -> None:
    for table in BY_TENANT:
        for policy in ("engine", "owner", "tenant"):
            run(f"DROP POLICY {policy} ON notifier.{table}")
        run(f"ALTER TABLE notifier.{table} NO FORCE ROW LEVEL SECURITY")
        run(f"ALTER TABLE notifier.{table} DISABLE ROW LEVEL SECURITY")
    for role in ("notifier_engine", "notifier_api", "notifier_producer"):
        run(f"REVOKE ALL ON ALL TABLES IN SCHEMA notifier FROM {role}")
        run(f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA notifier FROM {role}")
