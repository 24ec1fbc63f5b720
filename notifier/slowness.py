"""Keeps one process of a worker free of providers that hang, so that the other channels go on.

A worker's processes take whatever is rung, so a provider that answers nobody would soon have all of
them, each waiting for its deadline. They tell each other in shared memory which channels are slow
and who is at which; the last one that is at no slow channel takes none.
"""

import mmap

from notifier.words import Channel

MOST = 512
"""Processes of a worker at most."""

_NUMBERS = {channel: number for number, channel in enumerate(Channel, 2)}
_NOBODY, _FREE = 0, 1


class Slowness:
    """Made before the processes are forked, which then share it. Each takes its own place."""

    def __init__(self) -> None:
        self._slow = mmap.mmap(-1, len(_NUMBERS) + 2)
        self._places = mmap.mmap(-1, MOST)
        self._own = 0

    def take_place(self, number: int) -> None:
        """This process is number `number` of its worker, from 0; who was it before is gone."""
        self._own = number
        self._places[number] = _FREE

    def enter(self, channel: Channel) -> None:
        self._places[self._own] = _NUMBERS[channel]

    def leave(self) -> None:
        self._places[self._own] = _FREE

    def tell(self, channel: Channel, slow: bool) -> None:
        """What this process has just seen of the channel's provider."""
        self._slow[_NUMBERS[channel]] = slow

    def is_slow(self, channel: Channel) -> bool:
        return bool(self._slow[_NUMBERS[channel]])

    def has_all_others(self, channel: Channel) -> bool:
        """Whether `channel` is slow, and each other process is at a slow channel already; False
        where there is no other process.
        """
        if not self.is_slow(channel):
            return False
        others = [p for n, p in enumerate(self._places[:]) if p != _NOBODY and n != self._own]
        return bool(others) and all(self._slow[place] for place in others)
