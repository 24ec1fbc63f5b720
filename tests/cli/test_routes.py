"""`notifier routes` on a real database."""

import uuid
from typing import Any

import pytest

from notifier.cli import main
from tests.cli.answers import last_json
from tests.conftest import Database


def test_routes_are_set_listed_and_cleared(
    database: Database, tenant: uuid.UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    def routes(verb: str, *arguments: str) -> dict[str, Any]:
        assert main(["routes", verb, "--tenant", "acme", *arguments, "--json"]) == 0
        return last_json(capsys.readouterr().out)

    route = ["twilio:3,vonage", "sandbox"]
    told = routes("set", "sms", "vonage:1,twilio:3", "sandbox")
    assert told == {"channel": "sms", "route": route, "not_configured": ["twilio", "vonage"]}
    assert routes("list") == {"routes": {"sms": route}}
    assert routes("set", "sms", "vonage")["route"] == ["vonage"]
    assert routes("clear", "sms") == {"channel": "sms", "route": None}
    assert routes("list") == {"routes": {}}


def test_a_route_through_providers_that_are_not_configured_here_is_set_with_a_warning(
    database: Database,
    tenant: uuid.UUID,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def told(*arguments: str) -> str:
        assert main(["routes", "set", "--tenant", "acme", *arguments]) == 0
        return capsys.readouterr().err

    warning = told("sms", "vonage:1,twilio:3")
    assert "not configured for sms in this environment: twilio, vonage;" in warning
    assert "no_provider" in warning
    for name, value in (("HOST", "127.0.0.1"), ("FROM", "a@example.com")):
        monkeypatch.setenv(f"NOTIFIER_SMTP_{name}", value)
    assert told("email", "smtp") == ""
    assert "in this environment: sandbox;" in told("email", "smtp", "sandbox")
    monkeypatch.setenv("NOTIFIER_PROVIDERS", "email=smtp+sandbox")
    assert told("email", "smtp", "sandbox") == ""


@pytest.mark.parametrize(
    ("route", "told"),
    [
        (["smtp"], "null, sandbox, twilio, vonage, not 'smtp'"),
        (["twilio", "twilio"], "twilio once only"),
        (["twilio:0"], "a weight from 1 to 1000 for twilio"),
        (["twilio:many"], "a whole number, not 'twilio:many'"),
        ([""], "not ''"),
    ],
)
def test_a_route_that_can_not_be_is_refused(
    database: Database,
    tenant: uuid.UUID,
    capsys: pytest.CaptureFixture[str],
    route: list[str],
    told: str,
) -> None:
    assert main(["routes", "set", "--tenant", "acme", "sms", *route]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("notifier: route: expected ")
    assert told in printed
    assert database.one("SELECT count(*) FROM notifier.provider_routes") == 0
