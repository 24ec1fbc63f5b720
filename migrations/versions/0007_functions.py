"""Emit, fan-out and partitions: the rules that every face of the product shares."""

from migrations.source import drop_functions, install

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in (
        "words",
        "address_problem",
        "check_payload",
        "audience",
        "fan_out",
        "emit",
        "relay",
        "partitions",
    ):
        install(name, 1)


def downgrade() -> None:
    drop_functions(
        "ring_due",
        "pack",
        "emit_notification_event",
        "emit",
        "options_problem",
        "audience_problem",
        "fan_out_step",
        "fan_out_addresses",
        "fan_out_page",
        "dispatch",
        "pick_template",
        "audience_page",
        "json_problem",
        "check_payload",
        "address_problem",
        "chunk_size",
        "ensure_partitions",
    )
