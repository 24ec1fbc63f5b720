"""Which provider comes next: ordered, weighted, after a failure, and never a second one in doubt."""

import uuid
from collections import Counter

import pytest

from notifier.routing import Way, has_another, in_order, pick, turns

CHAIN = in_order(["a", "b", "c"])
ONE = uuid.UUID(int=1)


def works(*names: str) -> object:
    return lambda name: name in names


@pytest.mark.parametrize(
    ("last", "stays", "working", "expected"),
    [
        (None, False, "abc", "a"),
        (None, False, "bc", "b"),
        (None, False, "", None),
        ("a", False, "abc", "b"),
        ("b", False, "abc", "c"),
        ("c", False, "abc", "a"),
        ("a", False, "a", "a"),
        ("a", False, "ac", "c"),
        # It may have gone out: with its provider or not at all.
        ("a", True, "abc", "a"),
        ("b", True, "ab", "b"),
        ("a", True, "bc", None),
        # A provider that is no longer in the route can not be stayed with.
        ("z", True, "abc", "a"),
    ],
)
def test_the_next_provider(
    last: str | None, stays: bool, working: str, expected: str | None
) -> None:
    chosen = pick(CHAIN, ONE, last=last, stays=stays, works=lambda name: name in working)
    assert chosen == expected


def test_only_those_are_asked_whose_turn_comes() -> None:
    asked: list[str] = []

    def works(name: str) -> bool:
        asked.append(name)
        return True

    pick(CHAIN, ONE, last=None, stays=False, works=works)
    assert asked == ["a"]


def test_weights_share_a_place_and_the_next_place_stands_by() -> None:
    route = [Way("small", 0, 1), Way("large", 0, 3), Way("reserve", 1)]
    ids = [uuid.uuid4() for _ in range(4000)]
    orders = [turns(route, delivery) for delivery in ids]
    assert orders == [turns(route, delivery) for delivery in ids], "the same one always the same"
    first = Counter(order[0] for order in orders)
    assert first["reserve"] == 0
    assert 0.7 < first["large"] / 4000 < 0.8
    assert {order[2] for order in orders} == {"reserve"}


def test_every_provider_that_works_has_its_turn_before_the_wait() -> None:
    assert [has_another(attempt, 1) for attempt in range(1, 5)] == [False] * 4
    assert [has_another(attempt, 2) for attempt in range(1, 6)] == [True, False, True, False, True]
    assert [has_another(attempt, 3) for attempt in range(1, 5)] == [True, True, False, True]
