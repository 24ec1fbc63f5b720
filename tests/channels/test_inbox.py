"""The inbox: what it takes, and what can not be shown in one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from notifier.channels.inbox import Inbox
from notifier.outcome import Accepted, Rejected
from notifier.words import Channel
from tests.channels.conftest import always, make_message
from tests.channels.stands import Stand


@contextmanager
def stand(_: Path) -> Iterator[Stand]:
    yield Stand({}, lambda: 0)


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        ({"title": "Due", "message": "Soon"}, None),
        ({"title": "Due"}, "message"),
        ({"message": "Soon"}, "title"),
        ({"subject": "Due", "text": "Soon"}, "message"),
    ],
)
def test_a_message_without_a_part_is_rejected_by_its_name(
    parts: dict[str, str], missing: str | None
) -> None:
    given = make_message(Channel.INAPP, parts=parts)
    ((told, outcome),) = Inbox().send([given], always)
    assert told is given
    if missing is None:
        assert outcome == Accepted(delivered=True)
    else:
        assert outcome == Rejected("missing_part", f"the inbox needs the part `{missing}`")


def test_once_told_not_to_start_it_takes_nothing_more() -> None:
    words = iter([True, False])
    messages = [make_message(Channel.INAPP) for _ in range(3)]
    assert [m for m, _ in Inbox().send(messages, lambda: next(words))] == messages[:1]
