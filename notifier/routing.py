"""Which provider of a channel carries a delivery: a pure function of its route and its past."""

import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """A provider in a route.

    place: ways of the lowest place are taken while they work, those of the next instead of them.
    weight: its share among the ways of the same place.
    """

    provider: str
    place: int = 0
    weight: int = 1


def in_order(names: Sequence[str]) -> tuple[Way, ...]:
    """A route that takes `names` one after the other."""
    return tuple(Way(name, place) for place, name in enumerate(names))


def turns(route: Sequence[Way], delivery: uuid.UUID) -> list[str]:
    """The providers of a route in the order in which this delivery would try them.

    Within a place its id decides, by the weights: the same delivery always the same.
    """
    order: list[str] = []
    for place in sorted({way.place for way in route}):
        ways = [way for way in route if way.place == place]
        while ways:
            chosen = _draw(ways, delivery, len(order)) if len(ways) > 1 else ways[0]
            order.append(chosen.provider)
            ways.remove(chosen)
    return order


def pick(
    route: Sequence[Way],
    delivery: uuid.UUID,
    *,
    last: str | None,
    stays: bool,
    works: Callable[[str], bool],
) -> str | None:
    """The provider for the next attempt; None where none of the route works now.

    last: the provider of the attempt before, which failed.
    stays: whether that attempt may have gone out: another provider would make it two messages.
    works: whether a provider is there and its breaker lets this delivery through.
    """
    order = turns(route, delivery)
    if last is not None and last in order:
        if stays:
            return last if works(last) else None
        after = order.index(last) + 1
        order = order[after:] + order[:after]
    return next((name for name in order if works(name)), None)


def has_another(attempt: int, working: int) -> bool:
    """Whether a failed attempt is followed by one through another provider at once: in each round
    every provider that works has its turn, then the wait of the retry policy begins.
    """
    return working > 1 and attempt % working != 0


def _draw(ways: Sequence[Way], delivery: uuid.UUID, round: int) -> Way:
    """One of the ways, by weight and by the delivery's id, which begins with a time: hashed."""
    seed = hashlib.blake2b(delivery.bytes + bytes([round]), digest_size=8).digest()
    point = int.from_bytes(seed) % sum(way.weight for way in ways)
    for way in ways:
        point -= way.weight
        if point < 0:
            return way
    raise AssertionError("the weights add up")
