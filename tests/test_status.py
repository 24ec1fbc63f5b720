"""The table of moves: nobody moves a delivery backwards, and everything unfinished can end."""

import pytest

from notifier.status import FINAL, MOVES, UNFINISHED, Actor, Status, may_move

FORWARD = [Status.SENT, Status.DELIVERED, Status.OPENED, Status.CLICKED]


@pytest.mark.parametrize("actor", [Actor.ENGINE, Actor.RECEIPTS])
def test_what_was_sent_never_goes_back(actor: Actor) -> None:
    for place, before in enumerate(FORWARD):
        allowed = MOVES[actor].get(before, frozenset())
        assert not allowed & {*UNFINISHED, Status.CANCELLED, Status.EXPIRED, Status.REFUSED}
        assert not allowed & set(FORWARD[: place + 1])


def test_the_engine_leaves_final_statuses_alone() -> None:
    assert not FINAL & MOVES[Actor.ENGINE].keys()


@pytest.mark.parametrize("status", sorted(UNFINISHED))
def test_whatever_is_unfinished_can_be_sent_and_can_fail(status: Status) -> None:
    assert may_move(Actor.ENGINE, status, Status.SENT)
    assert may_move(Actor.ENGINE, status, Status.FAILED)


def test_nobody_cancels_what_a_provider_may_have() -> None:
    for actor in Actor:
        assert not may_move(actor, Status.SENDING, Status.CANCELLED)


def test_a_refused_delivery_stays_refused() -> None:
    assert all(Status.REFUSED not in moves for moves in MOVES.values())
