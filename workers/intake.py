"""What workers take from Redis: nothing but the messages we ring, whoever else may write there.

Celery and kombu read a message as it comes. One that is not of the form they expect (no JSON, no
envelope, a body that is a number) ends the worker with an unhandled error, and goes back to its
queue on the way, so that the next worker ends as well. So each is looked at before they see it.
Whatever is dropped here costs nothing: what a message announces stands in Postgres.
"""

import json
from base64 import b64decode
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

from notifier.log import logger

log = logger("intake")


def is_message(raw: bytes) -> bool:
    """Whether this is a task message as `queue.publish` and beat write them."""
    try:
        envelope = json.loads(raw.decode())
        headers, properties = envelope["headers"], envelope["properties"]
        body = b64decode(envelope["body"], validate=True)
        arguments, keywords, links = json.loads(body.decode())
        return (
            envelope["content-type"] == "application/json"
            and envelope["content-encoding"] == "utf-8"
            and properties["body_encoding"] == "base64"
            and isinstance(properties["delivery_tag"], str)
            and isinstance(properties["delivery_info"], dict)
            and isinstance(headers["task"], str)
            and isinstance(headers["id"], str)
            # Time lives in Postgres, and so does the count of attempts.
            and headers["eta"] is None
            and headers["retries"] == 0
            and headers["timelimit"] == [None, None]
            and isinstance(headers["expires"], str | None)
            and isinstance(arguments, list)
            and isinstance(keywords, dict)
            # No task of ours calls another.
            and not any(links.values())
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


def _popped(answer: Any, **_: Any) -> tuple[bytes, bytes] | None:
    """Redis's answer to BRPOP, or None, as where nothing came, for what is not a message."""
    if not answer:
        return None
    queue, raw = answer
    if is_message(raw):
        return queue, raw
    log.error("not_a_message", queue=queue.decode(errors="replace"), bytes=len(raw))
    return None


class Channel(redis.Channel):
    """kombu's channel over a client that drops what is not a message."""

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)  # type: ignore[no-untyped-call] # kombu's
        client.set_response_callback("BRPOP", _popped)
        return client


class Transport(redis.Transport):
    """kombu's transport with this channel."""

    Channel = Channel


def guard() -> None:
    """Have Celery read Redis through this transport, from the next connection on."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
