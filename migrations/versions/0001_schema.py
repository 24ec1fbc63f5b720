"""The roles of the schema, and how its ids are made."""

from migrations.source import drop_functions, install, run

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROLES = ("notifier_engine", "notifier_api", "notifier_producer")


def upgrade() -> None:
    # Roles belong to the whole server: another database of it may have made them already, and
    # may be doing so at this moment.
    for role in ROLES:
        run(
            f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
        run(f"GRANT USAGE ON SCHEMA notifier TO {role}")
    install("ids", 1)
    run("ALTER DEFAULT PRIVILEGES IN SCHEMA notifier REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
    install_new_id()


def install_new_id() -> None:
    from alembic import op

    version = op.get_bind().exec_driver_sql("SHOW server_version_num").scalar_one()
    install("new_id_18" if int(version) >= 180000 else "new_id_16", 1)


def downgrade() -> None:
    drop_functions(
        "new_id", "delivery_id", "delivery_seed", "id_high", "id_low", "id_time", "id_floor"
    )
