"""What commands print and how they exit, in this process, on a real database."""

import json
import uuid
from pathlib import Path

import pytest
from sqlalchemy import Connection

from notifier.cli import main
from notifier.cli.commands import COMMANDS
from notifier.settings import settings
from tests.cli.answers import last_json
from tests.conftest import Database, forget

PAYLOAD = json.dumps({"email": "ada@example.com", "name": "Ada"})
TO_ADA = json.dumps({"addresses": [{"channel": "email", "address": "ada@example.com"}]})


def emit(*arguments: str) -> int:
    return main(["emit", "user.signup", "--payload", PAYLOAD, "--to", TO_ADA, *arguments])


def test_emit_writes_the_event_and_answers_with_its_id(
    database: Database, tenant: uuid.UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    assert emit("--tenant", str(tenant), "--json") == 0
    facts = last_json(capsys.readouterr().out)
    assert (facts["matched"], facts["created"], facts["is_new"]) == (1, 1, True)
    assert database.one("SELECT id FROM notifier.notification_events") == uuid.UUID(facts["event"])


def test_a_tenant_may_be_given_by_its_name(database: Database, tenant: uuid.UUID) -> None:
    assert emit("--tenant", "acme") == 0
    assert database.one("SELECT tenant_id FROM notifier.notification_events") == tenant


@pytest.mark.parametrize(
    "command",
    [
        ["emit", "user.signup"],
        ["cancel", "--event", str(uuid.uuid4())],
        ["acknowledge", "--event", str(uuid.uuid4())],
        ["replay"],
        ["doubts", "list"],
        ["routes", "list"],
    ],
    ids=lambda command: command[0],
)
def test_a_name_that_no_tenant_has_is_told_alike_by_every_command(
    database: Database, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert main([*command, "--tenant", "nobody", "--json"]) == 2
    printed = capsys.readouterr()
    told = "tenant: expected the id or name of a tenant, and none is named 'nobody'"
    assert printed.err == f"notifier: {told}\n"
    assert last_json(printed.out)["error"] == {
        "code": "unknown_tenant",
        "field": "tenant",
        "message": told,
    }


def test_every_option_of_emit_reaches_the_event(database: Database, tenant: uuid.UUID) -> None:
    code = emit(
        *("--tenant", "acme", "--idempotency-key", "k1", "--lane", "critical"),
        *("--source", "cron_scheduler", "--actor", "ada", "--correlation-id", "c1"),
        *("--scheduled-for", "2099-01-01T09:00+02:00", "--expires-at", "2099-01-02T00:00Z"),
    )
    assert code == 0
    ((source, actor, correlation, hour),) = database.query(
        "SELECT source, actor, correlation_id, extract(hour FROM scheduled_for AT TIME ZONE 'UTC') "
        "FROM notifier.notification_events"
    )
    assert (source, actor, correlation, hour) == ("cron_scheduler", "ada", "c1", 7)
    assert database.one("SELECT lane FROM notifier.dispatches") == "critical"


def test_files_are_attached_in_the_order_given(
    database: Database, tenant: uuid.UUID, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b.txt", "a.pdf"):
        (tmp_path / name).write_bytes(name.encode())
    files = [argument for n in ("b.txt", "a.pdf") for argument in ("--attach", str(tmp_path / n))]
    assert emit("--tenant", "acme", *files) == 0
    kept = database.query(
        "SELECT a.name, a.media_type, a.content FROM notifier.notification_events e, "
        "unnest(e.attachments) WITH ORDINALITY AS x(id, n) "
        "JOIN notifier.attachments a USING (id) ORDER BY x.n"
    )
    assert [tuple(row) for row in kept] == [
        ("b.txt", "text/plain", b"b.txt"),
        ("a.pdf", "application/pdf", b"a.pdf"),
    ]
    (tmp_path / "empty").touch()
    assert emit("--tenant", "acme", "--json", "--attach", str(tmp_path / "empty")) == 2
    error = last_json(capsys.readouterr().out)["error"]
    assert (error["code"], error["field"]) == ("invalid_attachment", "content")
    assert emit("--tenant", "acme", "--attach", str(tmp_path / "none")) == 2
    assert database.one("SELECT count(*) FROM notifier.notification_events") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "field"),
    [
        (["emit", "no.such", "--tenant", "acme"], "unknown_event_type", "event_type"),
        (["emit", "user.signup", "--tenant", "acme"], "invalid_payload", "payload.email"),
        (["emit", "user.signup", "--tenant", str(uuid.UUID(int=1))], "unknown_tenant", "tenant"),
        (
            [*("pauses", "begin", "--reason", "x"), *("--channel", "sms", "--provider", "smtp")],
            "invalid_value",
            "provider",
        ),
        (
            [
                *("pauses", "begin", "--reason", "x", "--channel", "sms"),
                "--until=2020-01-01T00:00Z",
            ],
            "invalid_value",
            "until",
        ),
    ],
)
def test_a_refusal_names_code_and_field_and_exits_with_2(
    database: Database,
    tenant: uuid.UUID,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: str,
    field: str,
) -> None:
    assert main([*arguments, "--json"]) == 2
    printed = capsys.readouterr()
    assert last_json(printed.out)["error"]["code"] == code
    assert last_json(printed.out)["error"]["field"] == field
    assert printed.err.startswith(f"notifier: {field}: expected ")
    assert database.one("SELECT count(*) FROM notifier.notification_events") == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["frobnicate"], "No such command"),
        (["emit", "user.signup"], "Missing option '--tenant'"),
        (["emit", "a.b", "--tenant", "x", "--payload", "{"], "--payload: expected JSON"),
        (["emit", "a.b", "--tenant", "x", "--payload", "@/no/such"], "can not be read"),
        (["emit", "a.b", "--tenant", "x", "--expires-at", "2026-05-01T09:00"], "no offset"),
        (["worker", "--channels", "fax"], "known are: fan_out, receive, email"),
        (["worker", "--lanes", "urgent"], "known are: critical, normal, bulk"),
        (
            ["worker", "-Q", "celery"],
            "known are: notifier.receive.critical, notifier.fan_out.critical",
        ),
        (["worker", "-Q", "notifier.sms.bulk", "--lanes", "bulk"], "leave out"),
        (["emit", "a.b", "--tenant", "x", "--escalation", "{"], "--escalation: expected JSON"),
        (["acknowledge"], "either --event or --delivery"),
        (["cancel"], "either --event or --delivery"),
        (["replay"], "--all"),
        (["replay", "--channel", "fax"], "'fax' is not one of 'email'"),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_2(
    database: Database, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(arguments) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("command", ["relay", "worker", "status", "migrate"])
def test_a_missing_address_names_its_variable(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    monkeypatch.delenv("NOTIFIER_DATABASE_URL")
    monkeypatch.delenv("NOTIFIER_REDIS_URL")
    forget()
    assert main([command]) == 2
    assert capsys.readouterr().err.startswith("notifier: NOTIFIER_")


def test_a_wrong_setting_names_its_variable_and_what_was_expected(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFIER_HTTP_PORT", "many")
    settings.cache_clear()
    assert main(["status"]) == 2
    expected = "notifier: NOTIFIER_HTTP_PORT: expected a port number from 1 to 65535\n"
    assert capsys.readouterr().err == expected


def test_a_server_that_is_away_is_told_in_one_line(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFIER_DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/d")
    forget()
    assert main(["status", "--json"]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert "NOTIFIER_DATABASE_URL" in printed.err
    assert "secret" not in printed.err
    assert last_json(printed.out)["error"]["code"] == "unreachable"


def test_status_counts_what_there_is(
    database: Database, tenant: uuid.UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    emit("--tenant", "acme")
    capsys.readouterr()
    assert main(["status", "--check", "--json"]) == 0
    facts = last_json(capsys.readouterr().out)
    assert facts["deliveries"] == {"email": {"queued": 1}}
    assert (facts["dispatches"]["waiting"], facts["dispatches"]["leased"]) == (1, 0)
    assert facts["violations"] == {}


def test_status_check_fails_where_a_rule_is_broken(
    database: Database,
    tenant: uuid.UUID,
    connection: Connection,
    capsys: pytest.CaptureFixture[str],
) -> None:
    emit("--tenant", "acme")
    connection.exec_driver_sql("DELETE FROM notifier.dispatches")
    connection.commit()
    assert main(["status", "--check"]) == 1
    assert "BROKEN" in capsys.readouterr().out


def test_cancel_counts_what_it_stopped(
    database: Database, tenant: uuid.UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    emit("--tenant", "acme", "--json")
    event = last_json(capsys.readouterr().out)["event"]
    assert main(["tenants", "create", "other"]) == 0
    assert main(["cancel", "--event", event, "--tenant", "other"]) == 2
    assert main(["cancel", "--event", event, "--tenant", "acme", "--json"]) == 0
    told = last_json(capsys.readouterr().out)
    assert (told["stopped"], told["in_flight"], told["sent"]) == (1, 0, 0)
    assert database.statuses() == {"cancelled": 1}
    assert main(["cancel", "--event", str(uuid.uuid4())]) == 2


def test_a_cancel_tells_what_was_not_fanned_out_and_what_was_cancelled_before(
    database: Database, tenant: uuid.UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    emit("--tenant", "acme", "--json", "--scheduled-for", "2099-01-01T00:00Z")
    event = last_json(capsys.readouterr().out)["event"]
    for told in (
        "cancelled before its fan-out: nothing of it is sent",
        "0 stopped, 0 in flight, 0 sent before  (cancelled before)",
    ):
        assert main(["cancel", "--event", event]) == 0
        assert capsys.readouterr().out == told + "\n"


def test_acknowledge_ends_an_escalation(
    database: Database, tenant: uuid.UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = '[{"after": 60, "channels": ["sms"]}]'
    emit("--tenant", "acme", "--json", "--escalation", steps)
    event = last_json(capsys.readouterr().out)["event"]
    for is_first, stopped in ((True, 1), (False, 0)):
        assert main(["acknowledge", "--event", event, "--tenant", "acme", "--json"]) == 0
        told = last_json(capsys.readouterr().out)
        assert told == {"event": event, "is_first": is_first, "stopped": stopped}
    assert database.one("SELECT how FROM notifier.acknowledgements") == "cli"
    assert main(["acknowledge", "--event", str(uuid.uuid4())]) == 2
    assert "event: expected the id of one" in capsys.readouterr().err


def test_tenants_are_created_and_listed(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tenants", "create", "globex", "--json"]) == 0
    made = last_json(capsys.readouterr().out)
    assert main(["tenants", "create", "globex"]) == 2
    assert main(["tenants", "list", "--json"]) == 0
    assert last_json(capsys.readouterr().out)["tenants"] == [made]


def test_a_secret_key_is_one_that_the_settings_take(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "secret"]) == 0
    monkeypatch.setenv("NOTIFIER_SECRET_KEYS", capsys.readouterr().out.strip())
    settings.cache_clear()
    assert settings().secret_keys


def test_api_keys_are_made_listed_and_revoked(
    database: Database, tenant: uuid.UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ["keys", "create", "--tenant", "acme", "--name", "shop", "--json"]
    assert main([*made, "--expires-at", "2099-01-01T00:00Z"]) == 0
    facts = last_json(capsys.readouterr().out)
    assert main(["keys", "list", "--tenant", str(tenant), "--json"]) == 0
    printed = capsys.readouterr().out
    (listed,) = last_json(printed)["keys"]
    assert (listed["id"], listed["name"], listed["revoked_at"]) == (facts["key"], "shop", None)
    assert facts["token"] not in printed
    assert main(["keys", "revoke", "--tenant", "acme", facts["key"]]) == 0
    assert main(["keys", "revoke", "--tenant", "acme", facts["key"]]) == 2
    assert main(["keys", "create", "--tenant", "nobody", "--name", "x"]) == 2


def test_dead_letters_are_replayed_by_filter(
    database: Database, tenant: uuid.UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    for chosen in (["--channel", "email"], ["--tenant", "acme"]):
        assert main(["replay", *chosen, "--json"]) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out) == {"replayed": 0}
        assert last_json(printed.err)["event"] == "replayed"


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_a_command_logs_is_beside_its_answer_and_has_ids_as_text(
    database: Database,
    tenant: uuid.UUID,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: str,
) -> None:
    monkeypatch.setenv("NOTIFIER_LOG_FORMAT", form)
    settings.cache_clear()
    whom = ["--tenant", "acme", "--channel", "email", "--address", "ada@example.com"]
    assert main(["suppressions", "add", *whom, "--reason", "asked by telephone"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "suppressed\n"
    assert str(tenant) in printed.err
    assert "UUID(" not in printed.err
    if form == "json":
        assert last_json(printed.err)["tenant"] == str(tenant)


def test_migrate_of_a_database_that_is_ready_changes_nothing(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    before = database.one("SELECT count(*) FROM notifier.templates")
    assert main(["migrate", "--json"]) == 0
    assert last_json(capsys.readouterr().out)["event_types"] > 10
    assert database.one("SELECT count(*) FROM notifier.templates") == before


def test_migrating_needs_the_owner_and_says_so(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", "--to", "0008"]) == 1
    assert "NOTIFIER_OWNER_URL" in capsys.readouterr().err


def test_migrate_goes_back_and_forth_and_makes_the_login(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTIFIER_OWNER_URL", database.admin_url)
    host = database.admin_url.rpartition("@")[2]
    monkeypatch.setenv("NOTIFIER_DATABASE_URL", f"postgresql://made%40here:p%40ss@{host}")
    forget()
    assert main(["migrate", "--to", "0001"]) == 0
    assert main(["migrate", "--to", "9999"]) == 2
    assert main(["migrate", "--with-login", "--json"]) == 0
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    assert last_json(capsys.readouterr().out)["deliveries"] == {}


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in set(COMMANDS) - {"demo", "bench"}:
        assert main([name, "--help"]) == 0
        assert "Usage: notifier" in capsys.readouterr().out
