"""What providers call back with: kept by the API, worked off by workers."""

from migrations.source import drop_functions, drop_tables, install, run, run_file

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("versions/0011_callbacks.sql")
    install("keep_callbacks", 1)
    run("REVOKE ALL ON FUNCTION notifier.keep_callbacks(text, jsonb) FROM PUBLIC")
    run(
        "GRANT EXECUTE ON FUNCTION notifier.keep_callbacks(text, jsonb) "
        "TO notifier_engine, notifier_api"
    )
    run("GRANT SELECT, INSERT, UPDATE, DELETE ON notifier.callbacks TO notifier_engine")


def downgrade() -> None:
    drop_functions("keep_callbacks")
    drop_tables("callbacks")
    run("DELETE FROM notifier.dispatches WHERE kind = 'receive'")
    run("ALTER TABLE notifier.dispatches DROP CONSTRAINT dispatches_kind_check")
    run(
        "ALTER TABLE notifier.dispatches ADD CONSTRAINT dispatches_kind_check "
        "CHECK (kind IN ('deliver', 'fan_out', 'reconcile'))"
    )
