"""What a process makes at its first use and has one of, however many threads ask at once."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class once(Generic[T]):
    """Calls the function once and gives every caller what it returned.

    Unlike `functools.cache`, where threads that come first together each make one: a pool more
    is so many connections more, which nobody closes.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[T] = []
        self.__doc__ = make.__doc__

    def __call__(self) -> T:
        made = self._made
        if not made:
            with self._lock:
                made = self._made
                if not made:
                    made.append(self._make())
        return made[0]

    @property
    def is_made(self) -> bool:
        """Whether it has been made."""
        return bool(self._made)

    def cache_clear(self) -> None:
        """Make it anew at the next call; what was made is the caller's to close."""
        self._made = []
