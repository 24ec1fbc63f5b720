"""`notifier templates` on a real database."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from notifier.cli import main
from tests.cli.answers import last_json
from tests.conftest import Database


def test_templates_are_saved_listed_shown_previewed_and_taken_back(
    database: Database,
    tenant: uuid.UUID,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def templates(verb: str, *arguments: str) -> dict[str, Any]:
        assert main(["templates", verb, "--tenant", "acme", *arguments, "--json"]) == 0
        return last_json(capsys.readouterr().out)

    source = tmp_path / "due.txt"
    source.write_text("Fällig: {{ task.title }}\n")
    first = templates("save", "task.due_soon", "sms", "de", "--part", f"text=@{source}")
    assert (first["version"], first["is_own"]) == (1, True)
    second = templates("save", "task.due_soon", "sms", "de", "--part", "text=a = b")
    assert templates("show", second["id"])["parts"] == {"text": "a = b"}
    assert templates("restore", first["id"])["version"] == 3
    own = [v for v in templates("list", "task.due_soon")["templates"] if v["is_own"]]
    assert [v["version"] for v in own] == [3, 2, 1]
    shown = templates("preview", "task.due_soon", "sms", "--locale", "de-CH")
    assert shown["parts"] == {"text": "Fällig: Send the signed contract"}
    # The a with dots is of GSM-7, and so is the whole text.
    assert shown["sms"] == {"encoding": "GSM-7", "units": 32, "segments": 1}
    arguments = ["preview", "task.due_soon", "push", "--part", "text=x", "--part", "title=y"]
    assert main(["templates", *arguments, "--tenant", "acme"]) == 0
    assert capsys.readouterr().out == "── text\nx\n\n── title\ny\n"
    assert main(["templates", "preview", "task.due_soon", "sms", "--tenant", "acme"]) == 0
    assert "1 segment by SMS (GSM-7, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["save", "task.due_soon", "sms", "de"], "Missing option '--part'"),
        (["save", "task.due_soon", "sms", "de", "--part", "text"], "expected NAME=TEXT"),
        (
            ["save", "task.due_soon", "sms", "de", "--part", "text=a", "--part", "text=b"],
            "each name once, not 'text'",
        ),
        (
            ["save", "task.due_soon", "sms", "de", "--part", "text=@/no/such"],
            "--part text: /no/such can not be read",
        ),
        (
            ["save", "task.due_soon", "sms", "de", "--part", "text={{ x }}"],
            "parts: expected a template without faults (text, line 1: x is not in",
        ),
        (["preview", "task.due_soon", "sms", "--payload", "[]"], "--payload: expected a JSON obj"),
        (["list", "no.such"], "event_type: expected the name of a registered event type"),
    ],
)
def test_a_template_that_can_not_be_is_refused(
    database: Database,
    tenant: uuid.UUID,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    assert main(["templates", *arguments, "--tenant", "acme"]) == 2
    assert told in capsys.readouterr().err
    assert database.one("SELECT count(*) FROM notifier.templates WHERE tenant_id IS NOT NULL") == 0
