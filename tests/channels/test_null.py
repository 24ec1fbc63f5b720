"""The provider that sends nothing: what it writes down, and how long it takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from notifier.channels.null import Null
from tests.channels.conftest import always, make_message
from tests.channels.stands import Stand


@contextmanager
def stand(folder: Path) -> Iterator[Stand]:
    log = folder / "calls"
    log.touch()
    yield Stand({"NOTIFIER_NULL_LOG": str(log)}, lambda: len(log.read_text().splitlines()))


def test_a_call_is_counted_before_it_is_answered(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    provider = Null.from_environment({"NOTIFIER_NULL_LOG": str(log)})
    answers = provider.send([make_message(), make_message()], always)
    next(answers)
    provider.close()
    assert len(log.read_text().splitlines()) == 1


def test_latency_is_per_message() -> None:
    provider = Null.from_environment({"NOTIFIER_NULL_LATENCY_MS": "20"})
    began = time.monotonic()
    list(provider.send([make_message() for _ in range(5)], always))
    assert 0.1 <= time.monotonic() - began < 0.3
