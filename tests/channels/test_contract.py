"""What the engine may rely on, asked of every provider that discovery finds.

A new provider needs a `stand` in its own test: how to configure it against something on loopback
and where to count what it sent; see `stands`.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from notifier.channels import registry
from notifier.channels.contract import (
    Call,
    Forged,
    Message,
    Misunderstood,
    Provider,
    Question,
)
from notifier.channels.variables import PUBLIC_URL
from notifier.outcome import Accepted, NotFound, Rejected, RetryLater, Unsure
from notifier.words import TRAITS, Channel, InDoubt
from tests.channels.conftest import always, make_message
from tests.channels.stands import Stand, stand_of

NAMES = list(registry.providers())
STORES = {"notifications", "sandbox_messages"}


@pytest.fixture(params=NAMES)
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Provider, Stand]]:
    with stand_of(request.param)(tmp_path) as stand:
        provider = registry.providers()[request.param].from_environment(stand.environment)
        assert provider is not None
        yield provider, stand
        provider.close()


def messages_for(provider: Provider, stand: Stand, count: int) -> list[Message]:
    channel = sorted(provider.channels)[0]
    fields = {"address": stand.address} if stand.address else {}
    return [make_message(channel, **fields) for _ in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_its_own_test_has_a_stand(name: str) -> None:
    assert callable(stand_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_names_and_variables_follow_the_scheme(name: str) -> None:
    kind = registry.providers()[name]
    assert kind.name == name
    assert name.isidentifier()
    assert name == name.lower()
    assert kind.channels
    assert kind.channels <= set(Channel)
    assert kind.keeps is None or kind.keeps in STORES
    assert (kind.__doc__ or "").strip()
    variables = list(kind.variables())
    assert len(set(variables)) == len(variables)
    assert all(variable.startswith(f"NOTIFIER_{name.upper()}_") for variable in variables)
    assert set(kind.oauth_variables) <= set(variables)


def test_no_variable_belongs_to_two_providers() -> None:
    variables = [v for kind in registry.providers().values() for v in kind.variables()]
    assert len(set(variables)) == len(variables)


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_only_the_variables_it_names(name: str, tmp_path: Path) -> None:
    class Watched(dict[str, str]):
        def __init__(self, settings: dict[str, str]) -> None:
            super().__init__(settings)
            self.read: set[str] = set()

        def get(self, key: str, default: object = None) -> object:  # type: ignore[override] # one overload of three
            self.read.add(key)
            return super().get(key, default)

    with stand_of(name)(tmp_path) as stand:
        environment = Watched(stand.environment)
        kind = registry.providers()[name]
        provider = kind.from_environment(environment)
        assert provider is not None
        provider.close()
    assert environment.read - {PUBLIC_URL} == set(kind.variables())


def test_accounts_can_be_connected_where_it_names_variables_for_that(
    stand: tuple[Provider, Stand],
) -> None:
    provider, _ = stand
    assert provider.oauth is None or provider.oauth_variables


def test_the_deadline_leaves_room_in_a_lease_of_thirty_seconds(
    stand: tuple[Provider, Stand],
) -> None:
    assert timedelta(0) < stand[0].deadline <= timedelta(seconds=25)


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_every_message_has_exactly_one_outcome(stand: tuple[Provider, Stand], count: int) -> None:
    provider, where = stand
    messages = messages_for(provider, where, count)
    answers = list(provider.send(messages, always))
    assert sorted(m.delivery_id for m, _ in answers) == sorted(m.delivery_id for m in messages)
    assert all(isinstance(outcome, Accepted) for _, outcome in answers)
    assert where.sent() in (count, 0)


@pytest.mark.parametrize("address", ["", "\r\n", "\0", "x" * 5000, "http://[", "\ud800", "@", "é"])
def test_a_message_that_can_not_be_sent_is_an_outcome(
    stand: tuple[Provider, Stand], address: str
) -> None:
    provider, where = stand
    (good,) = messages_for(provider, where, 1)
    for channel in provider.channels:
        bad = replace(good, channel=channel, address=address, parts={})
        answers = list(provider.send([bad, bad, bad], always))
        assert len(answers) == 3
        for _, outcome in answers:
            assert isinstance(outcome, Accepted | Rejected | RetryLater)


def test_a_reader_that_leaves_stops_the_sending(stand: tuple[Provider, Stand]) -> None:
    provider, where = stand
    answers = provider.send(messages_for(provider, where, 300), always)
    next(answers)
    answers.close()
    sent = where.sent()
    assert sent < 100
    time.sleep(0.05)
    assert where.sent() == sent
    assert not [t for t in threading.enumerate() if t.name == "notifier-send"]
    again = list(provider.send(messages_for(provider, where, 5), always))
    assert all(isinstance(outcome, Accepted) for _, outcome in again)


def test_once_told_not_to_start_it_begins_nothing_more(stand: tuple[Provider, Stand]) -> None:
    provider, where = stand
    words = iter([True] * 20)
    asked = threading.Lock()

    def may_start() -> bool:
        with asked:
            return next(words, False)

    answers = list(provider.send(messages_for(provider, where, 300), may_start))
    assert len(answers) == 20
    assert where.sent() in (20, 0)
    assert list(provider.send(messages_for(provider, where, 5), lambda: False)) == []


def test_a_reader_that_pauses_is_not_run_away_from(stand: tuple[Provider, Stand]) -> None:
    provider, where = stand
    answers = provider.send(messages_for(provider, where, 300), always)
    next(answers)
    time.sleep(0.1)
    assert where.sent() <= 40
    assert len(list(answers)) == 299


def test_closing_twice_is_harmless_and_sending_opens_again(stand: tuple[Provider, Stand]) -> None:
    provider, where = stand
    list(provider.send(messages_for(provider, where, 3), always))
    provider.close()
    provider.close()
    ((_, outcome),) = provider.send(messages_for(provider, where, 1), always)
    assert isinstance(outcome, Accepted)


def test_it_can_be_checked(stand: tuple[Provider, Stand]) -> None:
    assert stand[0].check() is None


def test_good_addresses_pass_and_bad_ones_are_explained(stand: tuple[Provider, Stand]) -> None:
    provider, where = stand
    for channel in provider.channels:
        good = where.address or make_message(channel).address
        assert provider.check_address(channel, good) is None
        assert provider.check_address(channel, "a\r\nb")


def test_channels_that_reconcile_can_be_asked(stand: tuple[Provider, Stand]) -> None:
    provider, _ = stand
    since = datetime.now(UTC) - timedelta(minutes=1)
    for channel in provider.channels:
        questions = [Question(make_message(channel, parts={}), since) for _ in range(3)]
        answers = list(provider.look_up(questions))
        assert [q for q, _ in answers] == questions
        if TRAITS[channel].in_doubt is InDoubt.RECONCILE:
            # Nothing was ever sent; one that can not be asked says so.
            assert all(isinstance(a, NotFound | Unsure) for _, a in answers)


def test_a_call_that_it_did_not_make_is_never_believed(stand: tuple[Provider, Stand]) -> None:
    provider, _ = stand
    for body in (b"", b"{}", b"[]", b"\xff", b"MessageSid=SM1&MessageStatus=delivered"):
        with pytest.raises((Forged, Misunderstood)):
            provider.hear(Call("POST", "https://notify.example.com/webhooks/x", {}, body))
