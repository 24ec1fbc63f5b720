"""The schema: migrations equal the tables, functions equal their sources, ids stay distinct."""

import re
import threading
import time
from importlib import resources

import pytest
from sqlalchemy import Connection, text

from notifier.store.engine import engine_for
from notifier.store.migrate import installed_version, migrate
from notifier.store.tables import metadata
from notifier.words import TRAITS, Channel
from tests.conftest import Database, at

CATALOG = """
SELECT c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod) || ' '
       || a.attnotnull || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE n.nspname = 'notifier' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0
  AND NOT a.attisdropped AND c.relname <> 'schema_version'
UNION ALL
SELECT c.relname || ':' || k.conname, pg_get_constraintdef(k.oid)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'notifier' AND NOT c.relispartition AND c.relname <> 'schema_version'
UNION ALL
SELECT c.relname || '#' || i.relname, pg_get_indexdef(i.oid)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'notifier' AND NOT c.relispartition AND c.relname <> 'schema_version'
UNION ALL
SELECT c.relname || ' options', coalesce(c.reloptions::text, '') || coalesce(pg_get_partkeydef(c.oid), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'notifier' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname <> 'schema_version'
"""


def catalog(connection: Connection) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.exec_driver_sql(CATALOG)}


def test_migrations_make_exactly_the_tables_of_the_metadata(
    database: Database,
) -> None:
    name = database.admin_url.rsplit("/", 1)[1] + "_made"
    server = engine_for(database.admin_url)
    with server.connect() as connection:
        migrated = catalog(connection)
        connection.rollback()
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(
            f"CREATE DATABASE {name}"
        )
    server.dispose()
    made = engine_for(at(database.admin_url, name))
    with made.connect() as connection:
        connection.execute(text("CREATE SCHEMA notifier"))
        connection.execute(
            text(
                "CREATE FUNCTION notifier.new_id() RETURNS uuid LANGUAGE sql RETURN gen_random_uuid()"
            )
        )
        metadata.create_all(connection)
        declared = catalog(connection)
        connection.rollback()
    made.dispose()
    assert migrated == declared


def test_the_schema_goes_down_and_up_again(database: Database) -> None:
    server = engine_for(database.admin_url)
    with server.connect() as connection:
        before = catalog(connection)
        head = installed_version(connection)
        migrate(connection, "base")
        assert catalog(connection) == {}
        migrate(connection)
        migrate(connection)
        assert installed_version(connection) == head
        assert catalog(connection) == before
    server.dispose()


def test_a_migration_that_meets_a_lock_has_nobody_wait_behind_it_for_long(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An emit reads the event types in its producer's transaction, however long that one takes."""
    monkeypatch.setattr("notifier.store.migrate._PATIENCE_MS", 300)
    server = engine_for(database.admin_url)

    def to_head() -> None:
        with server.connect() as connection:
            migrate(connection)

    with server.connect() as connection:
        head = installed_version(connection)
        migrate(connection, "0021")
    migrating = threading.Thread(target=to_head)
    with server.connect() as producer, server.connect() as other:
        producer.exec_driver_sql("SELECT FROM notifier.event_types")
        migrating.start()
        slowest = 0.0
        until = time.monotonic() + 3
        while time.monotonic() < until:
            began = time.monotonic()
            other.exec_driver_sql("SELECT FROM notifier.event_types")
            other.rollback()
            slowest = max(slowest, time.monotonic() - began)
        assert 0.1 < slowest < 2, "it waited, and went on before the producer was done"
        assert installed_version(other) == "0021"
    migrating.join(60)
    with server.connect() as connection:
        assert installed_version(connection) == head
    server.dispose()


def newest_sources() -> dict[str, str]:
    """The newest version of every function source, by its file's name."""
    newest: dict[str, tuple[int, str]] = {}
    for entry in (resources.files("migrations") / "functions").iterdir():
        found = re.fullmatch(r"(\w+)\.v(\d+)\.sql", entry.name)
        assert found, entry.name
        name, version = found[1], int(found[2])
        newest[name] = max(newest.get(name, (0, "")), (version, entry.read_text()))
    return {name: source for name, (_, source) in newest.items()}


def functions(connection: Connection) -> dict[str, str]:
    return {
        row[0]: row[1]
        for row in connection.exec_driver_sql(
            "SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid) FROM pg_proc p "
            "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'notifier'"
        )
    }


def test_the_installed_functions_are_their_newest_sources(database: Database) -> None:
    server = engine_for(database.admin_url)
    with server.connect() as connection:
        installed = functions(connection)
        version = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
        raw = connection.connection.driver_connection
        assert raw is not None
        left_out = "new_id_16" if version >= 180000 else "new_id_18"
        for name, source in newest_sources().items():
            if name != left_out:
                raw.execute(source)
        assert functions(connection) == installed
        connection.rollback()
    server.dispose()


def test_chunk_sizes_are_the_same_in_sql_and_python(connection: Connection) -> None:
    for channel in Channel:
        size = connection.exec_driver_sql("SELECT notifier.chunk_size(%s)", (channel,)).scalar_one()
        assert size == TRAITS[channel].chunk
    assert connection.exec_driver_sql("SELECT notifier.chunk_size('pigeon')").scalar_one() is None


def test_delivery_ids_of_many_recipients_do_not_collide(connection: Connection) -> None:
    distinct, made = connection.exec_driver_sql(
        "SELECT count(DISTINCT notifier.delivery_id(e.id, 7, gen_random_uuid(), NULL)), count(*) "
        "FROM (SELECT notifier.new_id() AS id) e, generate_series(1, 300000)"
    ).one()
    assert distinct == made == 300_000


def test_a_delivery_id_tells_the_events_time_and_each_part_of_its_target(
    connection: Connection,
) -> None:
    rows = connection.exec_driver_sql(
        "SELECT e.id, notifier.delivery_id(e.id, notifier.delivery_seed(e.id, channel, step), r, p) "
        "FROM (SELECT notifier.new_id() AS id) e, "
        "(VALUES ('email', 0), ('sms', 0), ('email', 1)) AS c(channel, step), "
        "(VALUES (gen_random_uuid()), (gen_random_uuid())) AS x(r), "
        "(VALUES (gen_random_uuid()), (gen_random_uuid()), (NULL)) AS y(p)"
    ).all()
    assert len({row[1] for row in rows}) == 18
    assert {row[1].hex[:12] for row in rows} == {rows[0][0].hex[:12]}
    assert all(row[1].version == 7 for row in rows)


@pytest.mark.parametrize("weeks", [1, 6])
def test_partitions_are_made_once_and_ahead(connection: Connection, weeks: int) -> None:
    def ensure() -> int:
        return int(
            connection.exec_driver_sql(
                "SELECT notifier.ensure_partitions(now(), now() + make_interval(weeks => %s))",
                (weeks,),
            ).scalar_one()
        )

    assert ensure() == (0 if weeks == 1 else 12)
    assert ensure() == 0
