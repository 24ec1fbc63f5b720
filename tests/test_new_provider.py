"""A new provider is one new file and one test: dropped beside the others, it is found, configured and
sent through, and the contract suite runs over it.
"""

import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

import notifier.channels
from notifier.channels import registry
from notifier.settings import Settings
from notifier.words import Channel
from notifier.worker import Worker
from tests.channels.stands import stand_of
from tests.conftest import Database
from tests.engine import configured, run_due, sound, to_addresses
from tests.mutations import copy, python

__all__ = ["configured", "sound"]

PIGEON = '''
"""Carrier pigeons: a file a message, in the loft."""

from pathlib import Path

from notifier.channels import addresses, variables
from notifier.channels.contract import Provider
from notifier.outcome import Accepted, Rejected
from notifier.words import Channel


class Pigeon(Provider):
    """One pigeon a message."""

    name = "pigeon"
    channels = frozenset({Channel.SMS})

    def __init__(self, loft):
        self.loft = Path(loft)

    @classmethod
    def from_environment(cls, environment):
        loft = variables.text(environment, "NOTIFIER_PIGEON_LOFT")
        return None if loft is None else cls(loft)

    @classmethod
    def variables(cls):
        return ("NOTIFIER_PIGEON_LOFT",)

    def send(self, messages, may_start):
        for message in messages:
            if not may_start():
                return
            text = message.parts.get("text")
            if text is None:
                yield message, Rejected("missing_part", "a pigeon needs the part `text`")
                continue
            (self.loft / str(message.delivery_id)).write_text(text)
            yield message, Accepted(f"pigeon-{message.delivery_id}")

    def check_address(self, channel, address):
        return addresses.check_address(channel, address)
'''

TEST = '''
"""Pigeons, and the loft where the contract suite counts them."""

from contextlib import contextmanager

from tests.channels.stands import Stand


@contextmanager
def stand(folder):
    yield Stand({"NOTIFIER_PIGEON_LOFT": str(folder)}, lambda: len(list(folder.iterdir())))
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that belongs to the package of the providers."""
    monkeypatch.setattr(notifier.channels, "__path__", [*notifier.channels.__path__, str(tmp_path)])
    registry.providers.cache_clear()
    yield tmp_path
    registry.providers.cache_clear()
    sys.modules.pop("notifier.channels.pigeon", None)


def test_a_file_in_the_folder_is_all_there_is_to_a_new_provider(
    folder: Path,
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    (folder / "pigeon.py").write_text(PIGEON)
    loft = tmp_path_factory.mktemp("loft")
    registry.providers.cache_clear()
    assert "pigeon" in registry.providers()
    chosen = registry.choose({"NOTIFIER_PIGEON_LOFT": str(loft)})
    assert [each.name for each in chosen[Channel.SMS]] == ["pigeon"]
    to_addresses(connection, tenant, 3, "sms")
    run_due(database, Worker(chosen, configured))
    assert database.statuses() == {"sent": 3}
    rows = database.query("SELECT id::text, provider FROM notifier.notification_deliveries")
    assert {row[0] for row in rows} == {file.name for file in loft.iterdir()}
    assert {row[1] for row in rows} == {"pigeon"}
    assert all(file.read_text() for file in loft.iterdir())


def test_one_test_beside_the_others_is_all_that_the_contract_suite_needs() -> None:
    with copy() as tree:
        (tree / "notifier/channels/pigeon.py").write_text(PIGEON)
        (tree / "tests/channels/test_pigeon.py").write_text(TEST)
        suite = "tests/channels/test_contract.py"
        done = python(tree, "-m", "pytest", "-rA", suite, "-k", "pigeon or null or no_variable")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    passed = re.findall(r"^PASSED \S+::(\S+)", said, re.MULTILINE)
    of_pigeon = {test for test in passed if "pigeon" in test}
    assert len(of_pigeon) > 20
    assert of_pigeon == {test.replace("null", "pigeon") for test in passed if "null" in test}
    assert len(passed) == 2 * len(of_pigeon) + 1


def test_a_provider_without_a_stand_is_named() -> None:
    with pytest.raises(
        LookupError, match=r"no `stand` for pigeon in tests/channels/test_pigeon\.py"
    ):
        stand_of("pigeon")
