"""Names of queues and tasks, and the ringing of dispatches on them.

Tasks are sent by name, so that nothing here imports the workers.
"""

import uuid
from collections.abc import Iterable
from typing import Any

from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import OperationalError
from redis import Redis
from redis.client import PubSub
from redis.exceptions import RedisError

from notifier.errors import SettingError
from notifier.once import once
from notifier.settings import or_of_up, settings
from notifier.words import Channel, DispatchKind, Lane

POKE = "notifier.poke"
"""Pub/sub channel that wakes the relay before its next poll."""

EPOCH = "notifier.epoch"
"""A key the relay leaves in Redis: where it is gone, so is all that was queued."""

UNREACHABLE = (RedisError, OperationalError, OSError)
"""What anything here raises while Redis does not answer; Celery wraps some of it as kombu's own."""

TRANSPORT_OPTIONS: dict[str, Any] = {
    # A visibility timeout costs latency only: the lease in Postgres decides who may send.
    "visibility_timeout": 120,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    # Without these a half-open connection is never noticed.
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
}


def redis_url() -> str:
    url = settings().redis_url
    if not url:
        raise SettingError("NOTIFIER_REDIS_URL", f"a Redis or Valkey URL ({or_of_up()})")
    return url


def queue_name(kind: DispatchKind, channel: Channel | None, lane: Lane) -> str:
    """The queue a dispatch is rung on: one for each channel and lane, one a lane for fan-outs, one
    for what providers call back with."""
    return f"notifier.{kind if channel is None else channel}.{lane}"


def task_name(kind: DispatchKind) -> str:
    return f"notifier.{kind}"


def queue_names(channels: Iterable[Channel] = Channel, lanes: Iterable[Lane] = Lane) -> list[str]:
    """Every queue, critical lanes first."""
    chosen = list(channels)
    received = queue_name(DispatchKind.RECEIVE, None, Lane.CRITICAL)
    return [
        name
        for lane in lanes
        for name in (
            *([received] if lane is Lane.CRITICAL else []),
            queue_name(DispatchKind.FAN_OUT, None, lane),
            *(queue_name(DispatchKind.DELIVER, channel, lane) for channel in chosen),
        )
    ]


def direct(name: str) -> Queue:
    """A queue on the nameless exchange, which reaches it by its name alone.

    Bindings of a named exchange live in Redis: once they are wiped, what a long-lived producer
    publishes to it vanishes without an error.
    """
    return Queue(name, exchange="", routing_key=name)  # type: ignore[no-untyped-call] # kombu leaves it untyped


@once
def producer() -> Celery:
    """A Celery application that only sends, and gives up soon when Redis does not answer."""
    app = Celery("notifier", broker=redis_url())
    app.conf.update(
        broker_transport_options={**TRANSPORT_OPTIONS, "socket_timeout": 3},
        broker_connection_timeout=3,
        task_ignore_result=True,
        task_serializer="json",
        task_publish_retry=False,
    )
    return app


def ring(dispatch_id: uuid.UUID, kind: DispatchKind, channel: Channel | None, lane: Lane) -> None:
    """Announce one dispatch on its queue; raises what the broker raised."""
    publish(task_name(kind), str(dispatch_id), queue_name(kind, channel, lane))


def publish(task: str, argument: str, name: str) -> None:
    """Put one message for `task` on the queue `name`; raises what the broker raised."""
    producer().send_task(task, args=(argument,), queue=direct(name), retry=False)


@once
def redis() -> Redis:
    """A client for the relay's own keys."""
    client: Redis = Redis.from_url(
        redis_url(), socket_timeout=3, socket_connect_timeout=3, socket_keepalive=True
    )
    return client


def server_facts() -> dict[str, str]:
    """Redis's `version` and its `policy` when memory runs out; raises what the client raised."""
    facts: Any = redis().info()
    return {
        "version": str(facts.get("redis_version", "0")),
        "policy": str(facts.get("maxmemory_policy", "")),
    }


def pokes() -> PubSub:
    """A subscription to the pokes of emitters."""
    heard: PubSub = redis().pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call] # redis-py leaves it untyped
    heard.subscribe(POKE)
    return heard
