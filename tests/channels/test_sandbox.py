"""Scripted failures and the record of calls."""

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from notifier.channels.sandbox import Sandbox, script
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.status import Status
from notifier.words import Channel
from tests.channels.conftest import always, make_message
from tests.channels.stands import Stand


@contextmanager
def stand(folder: Path) -> Iterator[Stand]:
    log = folder / "calls"
    log.touch()
    yield Stand({"NOTIFIER_SANDBOX_LOG": str(log)}, lambda: len(log.read_text().splitlines()))


def outcome(channel: Channel, address: str, attempt: int = 1) -> Outcome:
    return script(make_message(channel, address=address, attempt=attempt))


@pytest.mark.parametrize(
    ("channel", "address", "kind", "code"),
    [
        (Channel.EMAIL, "ada@example.com", Accepted, None),
        (Channel.EMAIL, "ada+news@example.com", Accepted, None),
        (Channel.EMAIL, "ada+bounced@example.com", Accepted, None),
        (Channel.EMAIL, "ada@example.com+bounce", Accepted, None),
        (Channel.EMAIL, "ada+bounce@example.com", Rejected, "550"),
        (Channel.EMAIL, "ada+FAIL@example.com", Rejected, "554"),
        (Channel.EMAIL, "ada+x+timeout@example.com", Unsure, None),
        (Channel.EMAIL, "ada+429@example.com", RetryLater, "429"),
        (Channel.EMAIL, "ada+5xx@example.com", RetryLater, "503"),
        (Channel.EMAIL, "ada+late@example.com", Accepted, None),
        (Channel.EMAIL, "ada+late-bounce@example.com", Accepted, None),
        (Channel.SMS, "+15005550550", Accepted, None),
        (Channel.WEBHOOK, "https://example.com/hook+429?x=1", RetryLater, "429"),
        (Channel.SLACK, "#general+fail", Rejected, "554"),
        (Channel.SMS, "+4291234567", Accepted, None),
        (Channel.SMS, "+15005550001", Rejected, "21211"),
        (Channel.SMS, "+15005550002", Rejected, "21612"),
        (Channel.SMS, "+15005550003", Rejected, "21408"),
        (Channel.SMS, "+15005550004", Rejected, "21610"),
        (Channel.SMS, "+15005550006", Accepted, None),
        (Channel.SMS, "+15005550009", Rejected, "21614"),
        (Channel.SMS, "+15005550408", Unsure, None),
        (Channel.SMS, "+15005550429", RetryLater, "429"),
        (Channel.SMS, "+15005550500", RetryLater, "503"),
        (Channel.VOICE, "+15005550001", Rejected, "21217"),
        (Channel.VOICE, "+15005550002", Rejected, "21214"),
        (Channel.VOICE, "+15005550003", Rejected, "21215"),
        (Channel.VOICE, "+15005550004", Rejected, "21216"),
        (Channel.VOICE, "+15005550009", Accepted, None),
    ],
)
def test_the_address_scripts_the_outcome(
    channel: Channel, address: str, kind: type[Outcome], code: str | None
) -> None:
    came = outcome(channel, address)
    assert isinstance(came, kind)
    assert getattr(came, "code", None) == code


def test_only_addresses_that_are_gone_are_dead() -> None:
    dead = [
        address
        for address in ("a+bounce@example.com", "a+fail@example.com")
        if getattr(outcome(Channel.EMAIL, address), "address_dead", False)
    ]
    assert dead == ["a+bounce@example.com"]


def test_429_asks_for_a_wait() -> None:
    came = outcome(Channel.EMAIL, "a+429@example.com")
    assert isinstance(came, RetryLater)
    assert came.after == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("channel", "address"),
    [(Channel.EMAIL, "a+flaky@example.com"), (Channel.VOICE, "+15005550503")],
)
def test_flaky_succeeds_at_the_third_attempt(channel: Channel, address: str) -> None:
    kinds = [type(outcome(channel, address, attempt)) for attempt in (1, 2, 3, 4)]
    assert kinds == [RetryLater, RetryLater, Accepted, Accepted]


def test_the_providers_id_is_made_of_the_deliverys() -> None:
    message = make_message()
    came = script(message)
    assert isinstance(came, Accepted)
    assert came.provider_message_id == f"sandbox-{message.delivery_id}"
    assert not came.delivered


@pytest.mark.parametrize(
    ("channel", "address", "reported"),
    [
        (Channel.EMAIL, "a+LATE@example.com", [(Status.DELIVERED, None)]),
        (Channel.EMAIL, "a+late-bounce@example.com", [(Status.BOUNCED, "550")]),
        (Channel.VOICE, "+15005550200", [(Status.DELIVERED, None)]),
        (Channel.SMS, "+15005550550", [(Status.BOUNCED, "550")]),
        (Channel.EMAIL, "a+later@example.com", []),
        (Channel.EMAIL, "a@example.com", []),
        (Channel.SLACK, "#late", []),
    ],
)
def test_what_is_told_later_is_of_the_same_message(
    channel: Channel, address: str, reported: list[tuple[Status, str | None]]
) -> None:
    message = make_message(channel, address=address)
    accepted = script(message)
    assert isinstance(accepted, Accepted)
    reports = Sandbox().reports(message)
    assert [(told.status, told.code) for told in reports.values()] == reported
    assert {told.delivery_id for told in reports.values()} <= {message.delivery_id}
    ids = {told.provider_message_id for told in reports.values()}
    assert ids <= {accepted.provider_message_id}
    assert set(reports) <= {timedelta(seconds=3)}


def _send(log: str, attempt: int) -> None:
    provider = Sandbox.from_environment({"NOTIFIER_SANDBOX_LOG": log})
    list(provider.send([make_message(attempt=attempt) for _ in range(200)], always))
    provider.close()


def test_calls_of_many_processes_are_counted_line_by_line(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_send, args=(str(log), n)) for n in (1, 2, 3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        worker.close()
    lines = [line.split(" ") for line in log.read_text().splitlines()]
    assert all(len(line) == 3 for line in lines)
    assert Counter(line[1] for line in lines) == {"1": 200, "2": 200, "3": 200}


def test_a_call_is_counted_before_it_is_answered(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    provider = Sandbox.from_environment({"NOTIFIER_SANDBOX_LOG": str(log)})
    answers = provider.send([make_message(), make_message()], always)
    next(answers)
    provider.close()
    assert len(log.read_text().splitlines()) == 1


def test_latency_is_per_message() -> None:
    provider = Sandbox.from_environment({"NOTIFIER_SANDBOX_LATENCY_MS": "20"})
    began = time.monotonic()
    list(provider.send([make_message() for _ in range(5)], always))
    assert 0.1 <= time.monotonic() - began < 0.3


@pytest.mark.parametrize("value", ["-1", "5001", "fast"])
def test_a_wrong_latency_is_named(value: str) -> None:
    with pytest.raises(SettingError, match="NOTIFIER_SANDBOX_LATENCY_MS"):
        Sandbox.from_environment({"NOTIFIER_SANDBOX_LATENCY_MS": value})
