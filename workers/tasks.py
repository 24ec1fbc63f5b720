"""Celery's tasks, a line each: what they do is in `notifier`."""

import uuid

from notifier import callbacks, deliver, fanout, queue, reconcile, upkeep
from workers.app import app, worker


@app.task(name="notifier.deliver")
def deliver_task(dispatch_id: str) -> None:
    deliver.deliver(uuid.UUID(dispatch_id), worker())


@app.task(name="notifier.fan_out")
def fan_out_task(dispatch_id: str) -> None:
    fanout.fan_out(uuid.UUID(dispatch_id), worker())


@app.task(name="notifier.reconcile")
def reconcile_task(dispatch_id: str) -> None:
    reconcile.reconcile(uuid.UUID(dispatch_id), worker())


@app.task(name="notifier.receive")
def receive_task(dispatch_id: str) -> None:
    callbacks.receive(uuid.UUID(dispatch_id), worker())


@app.task(name="notifier.upkeep")
def upkeep_task() -> None:
    upkeep.upkeep()


@app.task(name="notifier.noop")
def noop_task(_: str) -> None:
    """Nothing: what Celery itself costs, for the benchmarks."""


@app.task(name="notifier.echo")
def echo_task(key: str) -> None:
    """Say in Redis that it ran: a round trip, for the benchmarks."""
    queue.redis().rpush(key, "ran")
    queue.redis().expire(key, 60)
