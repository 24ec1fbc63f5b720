"""Wake the relay after the outermost commit: optional, bounded, and never an emitter's problem."""

import os
import time
from contextlib import suppress
from typing import Any

_TIMEOUT = 0.05
"""Seconds a poke may take; a poll of the relay is never much further away than that."""
_OFF_AFTER_FAILURE = 10.0

_off_until = 0.0
_client: Any = None
_LISTENING = "notifier_pokes"


def after_commit(connection: Any) -> None:
    """Poke when the transaction of a SQLAlchemy session or connection, or Django's, is committed.

    SQLAlchemy tells of a connection's commit just before it; the relay, which may be faster, looks
    again a moment later. A psycopg connection has no such hook: there a poll finds the event.
    """
    if not os.environ.get("NOTIFIER_REDIS_URL"):
        return
    if hasattr(connection, "on_commit"):
        connection.on_commit(poke, robust=True)
        return
    if not any(base.__module__.startswith("sqlalchemy.") for base in type(connection).__mro__):
        return
    info = connection.info
    if info.get(_LISTENING):
        info[_LISTENING] = "due"
        return
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    target = connection if isinstance(connection, Session) else connection.engine
    info[_LISTENING] = "due"
    if isinstance(connection, Session):
        event.listen(target, "after_commit", _committed)
    elif not event.contains(target, "commit", _committed):
        event.listen(target, "commit", _committed)


def _committed(connection: Any) -> None:
    if connection.info.pop(_LISTENING, None) == "due":
        poke()


def poke() -> None:
    """One Redis operation, at most 50 ms; after a failure none for 10 s."""
    global _client, _off_until
    if time.monotonic() < _off_until:
        return
    try:
        if _client is None:
            from redis import Redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry

            _client = Redis.from_url(
                os.environ["NOTIFIER_REDIS_URL"].replace("valkey://", "redis://", 1),
                socket_timeout=_TIMEOUT,
                socket_connect_timeout=_TIMEOUT,
                retry=Retry(NoBackoff(), 0),
            )
        _client.publish("notifier.poke", "1")
    except Exception:
        # A failed poke costs latency only; the event is committed.
        _off_until = time.monotonic() + _OFF_AFTER_FAILURE
        with suppress(Exception):
            _client.close()
        _client = None
