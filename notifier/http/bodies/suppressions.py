"""Addresses that are suppressed, to be suppressed or no longer."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from notifier.http.bodies.given import Given
from notifier.words import Channel


class AddressIn(Given):
    channel: Channel
    address: str


class SuppressionIn(AddressIn):
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class SuppressionOut(BaseModel):
    """address: null where it is a secret in itself."""

    channel: Channel
    address: str | None
    reason: str
    created_at: datetime


class SuppressionsOut(BaseModel):
    """A page. next_cursor: what to pass as `cursor` for the next one; null at the end."""

    suppressions: list[SuppressionOut]
    next_cursor: str | None


class AddedOut(BaseModel):
    """is_new: false where the address was suppressed already, whose reason stays."""

    is_new: bool


class LiftedOut(BaseModel):
    """reason: of the suppression; null where there were retired contact points alone.

    contact_points: how many can be used again.
    """

    reason: str | None
    contact_points: int
