"""What a worker process holds: its providers and settings, and the dispatch it has in hand."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from notifier.breaker import Breakers
from notifier.channels import registry
from notifier.channels.contract import Provider
from notifier.errors import SettingError
from notifier.routing import Way
from notifier.settings import Settings
from notifier.slowness import Slowness
from notifier.status import Status
from notifier.store import dispatches, routes
from notifier.store.deliveries import Loaded, LoadedEvent
from notifier.store.dispatches import Claim
from notifier.store.engine import UNAVAILABLE, statement
from notifier.words import TRAITS, Channel, InDoubt

ROUTES_SECONDS = 5.0
"""How long tenants' routes are believed without asking the database again."""


@dataclass(slots=True)
class Worker:
    """What one worker process holds: its providers, its settings, and whether it is to stop."""

    providers: Mapping[Channel, Sequence[Provider]]
    """Of each channel, the first of which carries it while it works."""
    settings: Settings
    stopping: Callable[[], bool] = lambda: False
    pace: dict[str, float] = field(default_factory=dict)
    """Sends per second of each provider, as last seen; sets the size of a window."""
    slowness: Slowness = field(default_factory=Slowness)
    breakers: Breakers = field(default_factory=Breakers)
    limits: Mapping[str, float] = field(init=False)
    """Sends a second at most, of the providers that have such a limit."""
    _routes: Mapping[tuple[uuid.UUID, Channel], Sequence[Way]] = field(default_factory=dict)
    _routes_until: float = 0.0

    def __post_init__(self) -> None:
        self.limits = self.settings.limits

    def named(self, channel: Channel, name: str | None) -> Provider | None:
        """The channel's provider of that name; None where it is not configured any more."""
        return next((p for p in self.providers[channel] if p.name == name), None)

    def routes(self) -> Mapping[tuple[uuid.UUID, Channel], Sequence[Way]]:
        """The routes of tenants that have their own, by tenant and channel; a few seconds old."""
        if time.monotonic() > self._routes_until:
            with statement() as connection:
                rows = routes.load(connection)
            found: dict[tuple[uuid.UUID, Channel], list[Way]] = {}
            for tenant, channel, provider, place, weight in rows:
                found.setdefault((tenant, channel), []).append(Way(provider, place, weight))
            self._routes = found
            self._routes_until = time.monotonic() + ROUTES_SECONDS
        return self._routes

    def check(self) -> None:
        """Refuse to start where a send could outlive its lease, or a limit is nobody's."""
        self.check_rates()
        self.check_lease()

    def check_rates(self) -> None:
        """Raises SettingError where a limit is nobody's."""
        for name in self.limits:
            if name not in registry.providers():
                known = ", ".join(registry.providers())
                raise SettingError("NOTIFIER_RATES", f"providers out of {known}, not {name!r}")

    def check_lease(self) -> None:
        """Raises SettingError where a send could outlive its lease."""
        for provider in {each for chain in self.providers.values() for each in chain}:
            need = provider.deadline.total_seconds() + self.settings.flush_seconds
            if self.settings.lease_seconds <= need:
                raise SettingError(
                    "NOTIFIER_LEASE_SECONDS",
                    f"more than {need:g}: the deadline of {provider.name} and the flush interval",
                )


def refuse_wrong(settings: Settings, environment: Mapping[str, str]) -> None:
    """Raise the SettingError that a worker of this environment would end with at its start."""
    with registry.chosen(environment) as chosen:
        Worker(chosen, settings).check()


@contextmanager
def claiming(dispatch_id: uuid.UUID, worker: Worker) -> Iterator[uuid.UUID]:
    """The token for one claim of the dispatch, and what is done under that claim.

    Where that fails for the database's sake, the claim is let go and the fault raised: a claim
    that is left to its lease counts as the death of its worker, and a few deaths make a poison of
    what it had in hand.
    """
    token, until = uuid.uuid4(), time.monotonic() + worker.settings.lease_seconds
    try:
        yield token
    except UNAVAILABLE:
        # Where the database stays away for as long as the lease, that ends it.
        while time.monotonic() < until and not worker.stopping():
            try:
                with statement() as connection:
                    dispatches.let_go(connection, dispatch_id, token)
                break
            except UNAVAILABLE:
                time.sleep(0.2)
        raise


@dataclass(slots=True)
class Chunk:
    """A claimed dispatch and what was read for it."""

    held: Claim
    provider: Provider
    rest: dict[uuid.UUID, Loaded]
    events: dict[uuid.UUID, LoadedEvent]
    shared: dict[uuid.UUID, dict[str, Any]]
    """Of each event, the template variables that all its deliveries share."""
    started: float
    until: float
    """When the lease ends by this process's monotonic clock; never later than the database's."""
    working: Mapping[uuid.UUID, int] = field(default_factory=dict)
    """How many providers work that a delivery may go through, this one among them; else one."""

    @property
    def channel(self) -> Channel:
        channel = self.held.channel
        assert channel is not None
        return channel

    @property
    def announces(self) -> bool:
        """Whether `sending` is committed before each call, because a repeat could do harm."""
        return TRAITS[self.channel].in_doubt is InDoubt.RECONCILE

    def standing(self, delivery: Loaded) -> Status:
        """The status the delivery's row has while it is being sent."""
        return Status.SENDING if self.announces else delivery.status
