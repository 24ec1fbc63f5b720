"""One process of a worker stays free of providers that hang."""

import pytest

from notifier.slowness import Slowness
from notifier.words import Channel

EMAIL, SMS, WEBHOOK = Channel.EMAIL, Channel.SMS, Channel.WEBHOOK


class Seats:
    """A worker's processes, played one after the other."""

    def __init__(self, processes: int) -> None:
        self.shared = Slowness()
        for number in reversed(range(processes)):
            self.shared.take_place(number)

    def is_last(self, number: int, channel: Channel) -> bool:
        self.shared._own = number
        return self.shared.has_all_others(channel)

    def at(self, number: int, channel: Channel | None) -> None:
        self.shared._own = number
        if channel is None:
            self.shared.leave()
        else:
            self.shared.enter(channel)


def test_the_last_process_at_no_slow_channel_takes_none() -> None:
    seats = Seats(3)
    seats.at(1, WEBHOOK)
    seats.at(2, EMAIL)
    assert not seats.is_last(0, WEBHOOK), "nothing is slow"
    seats.shared.tell(WEBHOOK, True)
    assert not seats.is_last(0, WEBHOOK), "2 is at one that is not"
    seats.shared.tell(EMAIL, True)
    assert seats.is_last(0, WEBHOOK)
    assert seats.is_last(0, EMAIL)
    assert not seats.is_last(0, SMS)
    seats.at(2, None)
    assert not seats.is_last(0, WEBHOOK)
    seats.at(2, WEBHOOK)
    seats.shared.tell(WEBHOOK, False)
    assert not seats.is_last(0, WEBHOOK)


@pytest.mark.parametrize("channel", Channel)
def test_a_process_without_others_takes_everything(channel: Channel) -> None:
    seats = Seats(1)
    seats.shared.tell(channel, True)
    assert not seats.is_last(0, channel)


def test_who_follows_a_killed_process_begins_free() -> None:
    seats = Seats(2)
    seats.shared.tell(WEBHOOK, True)
    seats.at(1, WEBHOOK)
    assert seats.is_last(0, WEBHOOK)
    seats.shared.take_place(1)
    assert not seats.is_last(0, WEBHOOK)
