"""Recipients, what they subscribe to and prefer, topics, and the catalogue of event types."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictBool

from notifier.http.bodies.events import EscalationStep
from notifier.http.bodies.given import Given, Word
from notifier.words import LOCALE, LONGEST_LOCALE, Channel, Lane


class ContactPointIn(Given):
    channel: Channel
    address: str
    secret: Annotated[str, Field(min_length=1, max_length=500)] | None = None


class RecipientBody(Given):
    """A recipient; what is left out takes its default, but contact points are only ever added."""

    name: Annotated[str, Field(max_length=200)] | None = None
    is_admin: StrictBool = False
    locale: Annotated[
        str,
        Field(
            max_length=LONGEST_LOCALE,
            pattern=f"^{LOCALE}$",
            description="a language tag such as de-AT",
        ),
    ] = "en"
    timezone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"
    attributes: dict[str, Any] = Field({})
    contact_points: list[ContactPointIn] = Field([], max_length=100)


class RecipientIn(RecipientBody):
    external_id: Word


class RecipientBatchIn(Given):
    recipients: Annotated[list[RecipientIn], Field(min_length=1, max_length=1000)]


class SubscriptionIn(Given):
    is_active: StrictBool = True
    admin_only: StrictBool = False


class PreferenceIn(Given):
    """scope: an event type, `category:` and a category, or `*`."""

    scope: Word
    channel: Channel
    enabled: StrictBool


class MembersIn(Given):
    """The external ids of everyone in the topic; whoever is not named is taken out."""

    recipients: Annotated[list[Word], Field(max_length=10_000)]


class ContactPointOut(BaseModel):
    channel: Channel
    address: str | None
    dead_at: datetime | None
    dead_reason: str | None


class SubscriptionOut(BaseModel):
    event_type: str
    is_active: bool
    admin_only: bool


class PreferenceOut(BaseModel):
    scope: str
    channel: Channel
    enabled: bool


class RecipientOut(BaseModel):
    external_id: str
    name: str | None
    is_admin: bool
    locale: str
    timezone: str
    attributes: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    contact_points: list[ContactPointOut]
    subscriptions: list[SubscriptionOut]
    preferences: list[PreferenceOut]


class UpsertedOut(BaseModel):
    upserted: int


class TopicOut(BaseModel):
    name: str
    members: int


class EventTypeOut(BaseModel):
    """payload_schema: the subset of JSON Schema that a payload has to fit. example: one that does,
    where the event type has one.
    """

    name: str
    description: str
    category: str
    payload_schema: dict[str, Any]
    example: dict[str, Any] | None
    channels: list[Channel]
    lane: Lane
    mutable: bool
    escalation: list[EscalationStep]


class EventTypesOut(BaseModel):
    event_types: list[EventTypeOut]
