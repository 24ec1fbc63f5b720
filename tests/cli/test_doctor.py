"""`notifier doctor` finds what is wrong, says how to mend it, and exits accordingly."""

import json
import uuid
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from notifier import queue
from notifier.cli import main
from notifier.store import routes
from notifier.words import Channel
from tests.conftest import Database, forget


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(capsys.readouterr().out.splitlines()[-1])["findings"]:
        found.setdefault(finding["about"], []).append(finding)
    return found


def test_a_sound_installation_has_nothing_wrong(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFIER_SECRET_KEYS", Fernet.generate_key().decode())
    forget()
    assert main(["doctor", "--json"]) == 0
    found = findings(capsys)
    for about in ("postgres", "schema", "roles", "partitions", "snapshots", "clock", "redis"):
        assert found[about][0]["level"] == "ok", about
    assert main(["doctor"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    assert main(["doctor", "--quick"]) == 0


def test_a_misspelt_variable_is_reported_with_the_nearest_name(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFIER_LEASE_SECOND", "10")
    assert main(["doctor", "--json"]) == 1
    (finding,) = findings(capsys)["settings"]
    assert "NOTIFIER_LEASE_SECOND " in finding["what"]
    assert finding["mend"] == "rename it to NOTIFIER_LEASE_SECONDS"


def test_a_setting_that_is_wrong_is_a_finding(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFIER_HTTP_PORT", "80000")
    forget()
    for options in ([], ["--quick"]):
        assert main(["doctor", "--json", *options]) == 1
        finding = findings(capsys)["settings"][-1]
        assert finding["what"] == "NOTIFIER_HTTP_PORT: expected a port number from 1 to 65535"
        assert finding["mend"] == "correct NOTIFIER_HTTP_PORT"


def test_servers_that_nobody_named_are_one_finding_that_knows_of_up(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("NOTIFIER_DATABASE_URL")
    monkeypatch.delenv("NOTIFIER_REDIS_URL")
    monkeypatch.setenv("NOTIFIER_DATA_DIR", str(tmp_path))
    forget()
    assert main(["doctor", "--json"]) == 1
    found = findings(capsys)
    assert [about for about in found if found[about][0]["level"] == "wrong"] == [
        "postgres and redis"
    ]
    assert found["postgres and redis"][0]["mend"].endswith("or run `notifier up`")
    (tmp_path / "env").touch()
    assert main(["doctor", "--json", "--quick"]) == 1
    assert f". {tmp_path}/env;" in findings(capsys)["postgres and redis"][0]["mend"]
    assert main(["status"]) == 2
    assert f"`set -a; . {tmp_path}/env; set +a`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "level"),
    [("http://127.0.0.1:8000", "note"), ("https://notify.example.org", "ok")],
)
def test_links_that_lead_to_this_machine_are_pointed_out(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
    level: str,
) -> None:
    monkeypatch.setenv("NOTIFIER_PUBLIC_URL", url)
    forget()
    assert main(["doctor", "--json"]) == 0
    (finding,) = findings(capsys)["links"]
    assert finding["level"] == level
    assert url in finding["what"]


def test_channels_that_nobody_carries_are_pointed_out(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--json"]) == 0
    assert not [about for about in findings(capsys) if about.startswith("channel ")]
    monkeypatch.setenv("NOTIFIER_APPRISE_SERVICES", "json")
    assert main(["doctor", "--json"]) == 0
    (finding,) = findings(capsys)["channel voice"]
    assert finding["level"] == "note"
    assert "voice=sandbox" in finding["mend"]


def test_a_lease_too_short_for_a_provider_is_found(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFIER_LEASE_SECONDS", "1")
    forget()
    assert main(["doctor", "--json"]) == 1
    assert findings(capsys)["lease"][0]["level"] == "wrong"


def test_a_rate_for_nobody_is_found_apart_from_the_lease(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFIER_RATES", "twilo=10")
    forget()
    assert main(["doctor", "--json"]) == 1
    found = findings(capsys)
    (finding,) = found["rates"]
    assert "'twilo'" in finding["what"]
    assert finding["mend"] == "correct NOTIFIER_RATES"
    assert found["lease"][0]["level"] == "ok"


def test_redis_that_evicts_is_found(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    queue.redis().config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert main(["doctor", "--json"]) == 1
    finally:
        queue.redis().config_set("maxmemory-policy", "noeviction")
    assert "noeviction" in findings(capsys)["redis"][1]["mend"]


def test_servers_that_are_away_are_findings_and_no_traceback(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFIER_DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/d")
    monkeypatch.setenv("NOTIFIER_REDIS_URL", "redis://127.0.0.1:1/0")
    forget()
    assert main(["doctor", "--json"]) == 1
    found = findings(capsys)
    assert found["postgres"][0]["level"] == found["redis"][0]["level"] == "wrong"


def test_a_login_without_the_engines_role_is_found(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFIER_DATABASE_URL", database.producer_url)
    forget()
    assert main(["doctor", "--json"]) == 1
    assert (
        "GRANT notifier_engine TO notifier_producer_login" in findings(capsys)["roles"][0]["mend"]
    )


def test_a_database_without_the_schema_is_told_to_migrate(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = database.admin_url.rpartition("/")[0]
    monkeypatch.setenv("NOTIFIER_DATABASE_URL", f"{host}/postgres")
    forget()
    assert main(["doctor", "--json"]) == 1
    assert findings(capsys)["schema"][0]["mend"] == "run `notifier migrate`"


def test_a_tenants_route_to_nobody_is_found(
    database: Database,
    tenant: uuid.UUID,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NOTIFIER_PROVIDERS", "email=sandbox+null")
    forget()
    with database.pool.begin() as writer:
        routes.replace(writer, tenant, Channel.SMS, [("twilio", 0, 1), ("vonage", 1, 1)])
        routes.replace(writer, tenant, Channel.EMAIL, [("smtp", 0, 1), ("null", 1, 1)])
    assert main(["doctor", "--json"]) == 1
    (finding,) = findings(capsys)["routes"]
    assert finding["what"].startswith("acme sends sms through twilio, vonage alone")
    assert f"`notifier routes clear --tenant {tenant} sms`" in finding["mend"]
    assert main(["routes", "clear", "--tenant", str(tenant), "sms"]) == 0
    capsys.readouterr()
    assert main(["doctor", "--json"]) == 0
    assert "routes" not in findings(capsys)


def test_a_missing_partition_is_found(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    from notifier.store.engine import engine_for

    owner = engine_for(database.admin_url)
    with owner.connect() as connection, connection.begin():
        for name in database.query(
            "SELECT inhrelid::regclass::text FROM pg_inherits "
            "WHERE inhparent = 'notifier.delivery_journal'::regclass"
        ):
            connection.exec_driver_sql(f"DROP TABLE {name[0]}")
    owner.dispose()
    assert main(["doctor", "--json"]) == 1
    assert "delivery_journal" in findings(capsys)["partitions"][0]["what"]
