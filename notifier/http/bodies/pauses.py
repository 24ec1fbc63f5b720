"""Pauses to begin, and those that hold."""

import uuid
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from notifier.http.bodies.given import Given, Word
from notifier.words import Channel


class PauseIn(Given):
    """What is given must fit, all of it; nothing given pauses everything of the tenant."""

    channel: Channel | None = None
    provider: Word | None = None
    event_type: Word | None = None
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    until: datetime | None = None


class BegunOut(BaseModel):
    id: uuid.UUID


class PauseOut(BaseModel):
    """A pause that holds. until: when it ends of itself."""

    id: uuid.UUID
    tenant_id: uuid.UUID | None
    channel: Channel | None
    provider: str | None
    event_type: str | None
    reason: str
    actor: str | None
    created_at: datetime
    until: datetime | None


class PausesOut(BaseModel):
    pauses: list[PauseOut]


class ResumedOut(BaseModel):
    """dispatches: pieces of work that had waited for it."""

    dispatches: int
