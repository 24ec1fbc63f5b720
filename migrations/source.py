"""How a migration runs the SQL that stands in a file beside it."""

from pathlib import Path

from alembic import op

HERE = Path(__file__).parent


def run(sql: str) -> None:
    """Run one or many statements as they are: no parameters, no escaping of percent signs."""
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute(sql)


def run_file(name: str) -> None:
    run((HERE / name).read_text())


def install(function: str, version: int) -> None:
    """Install the functions of `functions/<function>.v<version>.sql`."""
    run_file(f"functions/{function}.v{version}.sql")


def drop_tables(*names: str) -> None:
    for name in names:
        run(f"DROP TABLE notifier.{name}")


def drop_functions(*names: str) -> None:
    """Drop functions by name, whatever their arguments."""
    for name in names:
        run(
            "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT p.oid FROM pg_proc p "
            "JOIN pg_namespace n ON n.oid = p.pronamespace "
            f"WHERE n.nspname = 'notifier' AND p.proname = '{name}' "
            "LOOP EXECUTE 'DROP FUNCTION ' || f; END LOOP; END $$"
        )
