"""Magic links: whoever has one may acknowledge a delivery's event, once, without logging in.

The token is in the message alone; what is kept is its SHA-256. It is made from the delivery's id
and a secret key, so that a message that is sent again says the same.
"""

import base64
import hashlib
import hmac
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from notifier import signing
from notifier.acknowledge import Acknowledgement, begin, finish
from notifier.settings import settings
from notifier.store import acknowledgements
from notifier.store.engine import connect

GOOD_FOR = timedelta(days=7)
"""From the sending on; less where the event is of no use sooner."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def make(
    connection: Connection, deliveries: Mapping[uuid.UUID, datetime | None]
) -> dict[uuid.UUID, str]:
    """A link for each delivery, kept in the caller's transaction, which is to be committed before
    the link is sent. None are made where no secret key is set.

    deliveries: by id, until when their event is of use.
    """
    keys = signing.keys("acknowledge")
    if not keys or not deliveries:
        return {}
    latest = datetime.now(UTC) + GOOD_FOR
    urls, kept = {}, {}
    for delivery, useless in sorted(deliveries.items()):
        raw = hmac.digest(keys[0], delivery.bytes, "sha256")
        token = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        urls[delivery] = f"{settings().public_url}/a/{token}"
        kept[_hash(token)] = delivery, min(latest, useless or latest)
    acknowledgements.keep_links(connection, kept)
    return urls


def state(token: str) -> str | None:
    """`good`, `used` or `expired`; None for what is no link of ours. Changes nothing."""
    if not _TOKEN.fullmatch(token):
        return None
    with connect() as connection:
        return acknowledgements.link_state(connection, _hash(token))


def use(token: str) -> Acknowledgement | None:
    """Use a link up and acknowledge its event, in one transaction; None where it is not good."""
    if not _TOKEN.fullmatch(token):
        return None
    with connect() as connection, connection.begin():
        delivery = acknowledgements.use_link(connection, _hash(token))
        if delivery is None:
            return None
        begun = begin(connection, delivery=delivery, how="link")
    return None if begun is None else finish(begun)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
