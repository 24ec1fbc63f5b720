"""What a worker process holds: its providers and settings, and the dispatch it has in hand."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from notifier.channels.contract import Provider
from notifier.errors import SettingError
from notifier.settings import Settings
from notifier.slowness import Slowness
from notifier.status import Status
from notifier.store import dispatches
from notifier.store.deliveries import Loaded, LoadedEvent
from notifier.store.dispatches import Claim
from notifier.store.engine import UNAVAILABLE, statement
from notifier.words import TRAITS, Channel, InDoubt


@dataclass(slots=True)
class Worker:
    """What one worker process holds: its providers, its settings, and whether it is to stop."""

    providers: Mapping[Channel, Provider]
    settings: Settings
    stopping: Callable[[], bool] = lambda: False
    pace: dict[str, float] = field(default_factory=dict)
    """Sends per second of each provider, as last seen; sets the size of a window."""
    slowness: Slowness = field(default_factory=Slowness)

    def check(self) -> None:
        """Refuse to start where a send could outlive its lease."""
        for provider in set(self.providers.values()):
            need = provider.deadline.total_seconds() + self.settings.flush_seconds
            if self.settings.lease_seconds <= need:
                raise SettingError(
                    "NOTIFIER_LEASE_SECONDS",
                    f"more than {need:g}: the deadline of {provider.name} and the flush interval",
                )


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
