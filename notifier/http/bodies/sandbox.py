"""What the sandbox captured."""

import uuid
from datetime import datetime

from pydantic import BaseModel

from notifier.words import Channel


class CapturedOut(BaseModel):
    """A message that the sandbox captured instead of sending it.

    parts: what it says, by the names of a template's parts; and `acknowledge_url` and
        `attachments`, the names of its files, where it has them.
    address: null where it is a secret in itself.
    """

    delivery_id: uuid.UUID
    event_id: uuid.UUID
    event_type: str
    channel: Channel
    recipient: str | None
    address: str | None
    attempt: int
    parts: dict[str, str]
    created_at: datetime


class CapturedListOut(BaseModel):
    messages: list[CapturedOut]
