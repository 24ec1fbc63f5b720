"""Celery's Redis transport, mended where an unanswered acknowledgement made a worker deaf for good.

kombu (5.7.0) tells Redis that a message is done before it counts it as done. Where Redis is gone
at that moment, Celery logs "Couldn't ack" and goes on, and the message counts as in hand for ever.
With as many of those as the worker has processes, it never asks Redis for anything again, and so
never finds out either that its connection is dead: it stays up, idle, until somebody restarts it.
"""

from typing import Any

from kombu.transport import redis, virtual


class QoS(redis.QoS):
    """A message is done when its work is, whether or not Redis could be told.

    Nothing rests on what Redis knows: a copy of the message finds its dispatch claimed, or gone.
    """

    def ack(self, delivery_tag: Any) -> None:
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call] # kombu leaves it untyped
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        try:
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise


def mend() -> None:
    """Have every Redis channel of this process count so."""
    redis.Channel.QoS = QoS
