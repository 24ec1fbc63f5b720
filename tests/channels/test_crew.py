"""Sharing a batch among threads."""

import logging
import threading
import time

import pytest

from notifier.channels import crew
from notifier.channels.contract import Attachment, Message
from notifier.outcome import Accepted, Outcome, Unsure
from tests.channels.conftest import always, make_message


def test_a_fault_of_ours_is_one_outcome_and_is_logged_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    messages = [make_message() for _ in range(10)]

    def one(message: Message) -> Outcome:
        if message is messages[3]:
            raise RuntimeError("ada@example.com said no")
        return Accepted()

    with caplog.at_level(logging.ERROR):
        answers = list(crew.share(messages, one, 3, always))
    assert sum(isinstance(outcome, Unsure) for _, outcome in answers) == 1
    assert len(answers) == 10
    assert "RuntimeError" in caplog.text
    assert "ada@example.com" not in caplog.text


def test_leaving_waits_for_what_is_under_way_and_begins_nothing() -> None:
    begun: list[Message] = []
    finished: list[Message] = []
    gate = threading.Event()

    def one(message: Message) -> Outcome:
        begun.append(message)
        if len(begun) > 1:
            gate.wait(5)
        finished.append(message)
        return Accepted()

    answers = crew.share([make_message() for _ in range(50)], one, 4, always)
    next(answers)
    threading.Timer(0.1, gate.set).start()
    answers.close()
    assert {m.delivery_id for m in begun} == {m.delivery_id for m in finished}
    assert len(begun) <= 1 + 4, "the first, and one for each thread"


def test_slow_messages_overlap() -> None:
    def one(_: Message) -> Outcome:
        time.sleep(0.05)
        return Accepted()

    began = time.monotonic()
    assert len(list(crew.share([make_message() for _ in range(16)], one, 8, always))) == 16
    assert time.monotonic() - began < 0.3


def test_a_question_that_fails_ends_the_batch(caplog: pytest.LogCaptureFixture) -> None:
    def may_start() -> bool:
        raise RuntimeError

    with caplog.at_level(logging.ERROR):
        answers = crew.share([make_message()] * 20, lambda _: Accepted(), 4, may_start)
        assert list(answers) == []


@pytest.mark.parametrize(("size", "most"), [(7_000_000, 2), (4_000_000, 3), (20_000_000, 1)])
def test_few_heavy_messages_are_under_way_at_once(size: int, most: int) -> None:
    files = [Attachment("a", "a/b", bytes(size))]
    lock, under_way, highest = threading.Lock(), 0, 0

    def one(_: Message) -> Outcome:
        nonlocal under_way, highest
        with lock:
            under_way += 1
            highest = max(highest, under_way)
        time.sleep(0.05)
        with lock:
            under_way -= 1
        return Accepted()

    messages = [make_message(attachments=files) for _ in range(12)]
    assert len(list(crew.share(messages, one, 8, always))) == 12
    assert highest == most
