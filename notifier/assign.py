"""Choose the provider for a claimed dispatch, where its channel has not just one."""

import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

from sqlalchemy import Connection

from notifier import routing
from notifier.breaker import State
from notifier.channels.contract import Provider
from notifier.log import logger
from notifier.routing import Way
from notifier.status import Actor, Reason, Status
from notifier.store import deliveries, dispatches, pauses
from notifier.store.deliveries import Loaded, Move
from notifier.store.dispatches import Claim
from notifier.store.engine import connect, statement
from notifier.store.pauses import Pause
from notifier.words import Channel, DispatchKind
from notifier.worker import Worker

log = logger("assign")

LOOK_AGAIN = timedelta(seconds=5)
"""Until what no provider works for is looked at again."""


def assign(
    held: Claim, rest: dict[uuid.UUID, Loaded], worker: Worker
) -> tuple[Provider, dict[uuid.UUID, int]] | None:
    """The provider for this claim, and how many work that each delivery may go through.

    Deliveries whose route asks for another leave the dispatch and `rest`, each lot on a dispatch of
    its own; those that no provider can take now are due again soon; those that none is configured
    for fail, unless a pause has them wait. None where nothing is left.
    """
    assert held.channel is not None
    with statement() as connection:
        paused = pauses.active(connection)
    breakers = _Breakers(worker, held.channel)
    able: dict[uuid.UUID, frozenset[str]] = {}
    carriers = {d.id: _carriers(worker, held.channel, d.address) for d in rest.values()}
    lots: dict[str | None, list[uuid.UUID]] = {}
    nowhere: list[Loaded] = []
    parked: dict[uuid.UUID, list[uuid.UUID]] = {}
    for delivery in rest.values():
        route = _route(worker, held.channel, delivery.tenant_id)
        if not route:
            waits = (p.id for p in paused if p.fits(delivery.tenant_id, held.channel, "", None))
            pause = next(waits, None)
            if pause is None:
                nowhere.append(delivery)
            else:
                parked.setdefault(pause, []).append(delivery.id)
            continue
        # A push token is good for one provider alone. Where none can carry to an address, the first
        # of the route will say what it had expected.
        route = [way for way in route if way.provider in carriers[delivery.id]] or route
        resting = _resting(delivery.tenant_id, held.channel, route, paused)
        able[delivery.id] = frozenset(way.provider for way in route if way.provider not in resting)
        # What a dead worker had in hand may have gone out through the provider it had.
        before = held.stays_with
        if before is None and delivery.status is Status.RETRYING:
            before = delivery.provider
        name = routing.pick(
            route,
            delivery.id,
            last=before,
            stays=held.stays_with is not None or delivery.code == "in_doubt",
            works=_works(route, resting, breakers),
        )
        lots.setdefault(name, []).append(delivery.id)
    waiting = lots.pop(None, [])
    # A trial is this claim's own; else the largest lot need not move.
    chosen = max(lots, key=lambda name: (name in breakers.trials, len(lots[name])), default=None)
    keep = lots.pop(chosen, [])
    with connect() as connection, connection.begin():
        if len(keep) < len(held.delivery_ids):
            if not dispatches.shrink(connection, held, keep, worker.settings.lease):
                log.warning("claim_lost", dispatch=held.id)
                return None
            for ids in lots.values():
                dispatches.add(connection, DispatchKind.DELIVER, held, ids, timedelta())
            if waiting:
                dispatches.add(
                    connection, DispatchKind.DELIVER, held, waiting, LOOK_AGAIN, held.stays_with
                )
            for pause, ids in parked.items():
                pauses.park(connection, held, ids, pause, held.stays_with)
            if nowhere:
                _fail(connection, held, nowhere, worker)
            held.delivery_ids = keep
        if chosen is not None:
            dispatches.send_through(connection, held, chosen)
    if chosen is None:
        return None
    for gone in rest.keys() - set(keep):
        del rest[gone]
    provider = worker.named(held.channel, chosen)
    assert provider is not None
    return provider, {i: breakers.working(able[i]) for i in rest}


def _carriers(worker: Worker, channel: Channel, address: str) -> frozenset[str]:
    """The providers of the channel that can carry to this address."""
    return frozenset(
        each.name
        for each in worker.providers[channel]
        if each.check_address(channel, address) is None
    )


def _route(worker: Worker, channel: Channel, tenant: uuid.UUID) -> Sequence[Way]:
    """The ways that are configured, of the tenant's own route or the installation's."""
    names = [provider.name for provider in worker.providers[channel]]
    own = worker.routes().get((tenant, channel))
    if own is None:
        return routing.in_order(names)
    return [way for way in own if way.provider in names]


def _resting(
    tenant: uuid.UUID, channel: Channel, route: Sequence[Way], paused: Sequence[Pause]
) -> set[str]:
    """The providers of the route that are paused."""
    return {
        way.provider
        for way in route
        for pause in paused
        if pause.provider == way.provider and pause.fits(tenant, channel, way.provider, None)
    }


def _works(
    route: Sequence[Way], resting: Collection[str], breakers: "_Breakers"
) -> Callable[[str], bool]:
    """Which providers of the route to take. One that is alone is tried whatever its breaker says,
    and where all are paused any will do: the delivery is not sent then.
    """
    if len(resting) == len(route):
        return lambda _: True
    alone = len(route) == 1
    return lambda name: name not in resting and (alone or breakers.let_through(name))


def _fail(connection: Connection, held: Claim, nowhere: Sequence[Loaded], worker: Worker) -> None:
    assert held.channel is not None
    has_some = bool(worker.providers[held.channel])
    whose = "its tenant's route names no provider that is" if has_some else "no provider is"
    reason = f"{whose} configured for {held.channel}"
    log.error("no_provider", channel=held.channel, deliveries=len(nowhere), why=reason)
    moves = [
        Move(d.id, d.status, Status.FAILED, d.attempts, code=Reason.NO_PROVIDER, detail=reason)
        for d in nowhere
    ]
    deliveries.move(connection, Actor.ENGINE, moves, held.attempts)
    deliveries.dead_letter(connection, [d.id for d in nowhere], Reason.NO_PROVIDER, reason)


class _Breakers:
    """What the breakers say to one claim: each is asked once, and only if its turn comes."""

    def __init__(self, worker: Worker, channel: Channel) -> None:
        self._worker = worker
        self._channel = channel
        self._states: dict[str, State] = {}
        self.trials: set[str] = set()

    def let_through(self, name: str) -> bool:
        provider = self._worker.named(self._channel, name)
        if provider is None or not provider.shares_fate:
            return provider is not None
        if name not in self._states:
            self._states[name] = self._worker.breakers.state(name)
        state = self._states[name]
        if state is State.TRIAL:
            # One delivery shows whether it works again.
            self.trials.add(name)
            self._states[name] = State.OPEN
        return state is not State.OPEN

    def working(self, names: Collection[str]) -> int:
        """How many of these providers may work, as far as anybody has asked."""
        return sum(
            name in self.trials or self._states.get(name) is not State.OPEN for name in names
        )
