"""Events to emit, and what became of them."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from notifier.http.bodies.given import Given, Word
from notifier.http.problems import Problem
from notifier.status import Actor, Reason, Status
from notifier.words import Channel, Lane, Source


class AddressIn(Given):
    channel: Channel
    address: str
    locale: str = ""


class AudienceIn(Given):
    """Who an event is for: at least one of recipients, topics, tenant and addresses."""

    recipients: list[str] | None = None
    topics: list[str] | None = None
    tenant: Literal[True] | None = None
    addresses: list[AddressIn] | None = None
    channels: list[Channel] | None = None
    except_: list[str] | None = Field(None, alias="except")


class EscalationStep(Given):
    """Who is asked next where nobody has acknowledged an event.

    after: seconds after the step before. unless: leaves out whom an earlier step has reached.
    """

    after: Annotated[int, Field(ge=1, le=604800)]
    channels: Annotated[list[Channel], Field(min_length=1)]
    unless: Literal["delivered", "seen", "acknowledged"] = "acknowledged"


class EventIn(Given):
    """An event to emit. Read as it is: the database holds the rules, the same for every face."""

    event_type: str
    payload: dict[str, Any]
    audience: Literal["subscribers"] | AudienceIn = "subscribers"
    idempotency_key: Word | None = None
    scheduled_for: datetime | None = None
    expires_at: datetime | None = None
    lane: Lane | None = None
    source: Source | None = None
    actor: Word | None = None
    correlation_id: Word | None = None
    escalation: Annotated[list[EscalationStep], Field(max_length=10)] | None = None
    attachments: Annotated[list[uuid.UUID], Field(max_length=10)] | None = None


class EventBatchIn(Given):
    events: Annotated[list[EventIn], Field(min_length=1, max_length=1000)]


class EventOut(BaseModel):
    """What was emitted; the counts are 0 until a large or scheduled audience is fanned out."""

    id: uuid.UUID
    is_new: bool
    matched: int
    created: int
    refused: int
    correlation_id: str


class BatchItemOut(BaseModel):
    """One item's result, in the order of the request: an event, or the problem with it."""

    status: int
    event: EventOut | None = None
    problem: Problem | None = None


class BatchOut(BaseModel):
    results: list[BatchItemOut]


class EventDetailOut(BaseModel):
    id: uuid.UUID
    event_type: str
    payload: dict[str, Any]
    audience: Any
    source: Source
    lane: Lane
    correlation_id: str
    actor: str | None
    idempotency_key: str | None
    scheduled_for: datetime | None
    expires_at: datetime | None
    created_at: datetime
    fanned_out_at: datetime | None
    cancelled_at: datetime | None
    escalation: list[EscalationStep]
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    matched: int
    created: int
    refused: int
    statuses: dict[Status, int]


class DeliveryOut(BaseModel):
    """One delivery. address: not shown for channels whose addresses are secrets."""

    id: uuid.UUID
    event_id: uuid.UUID
    recipient: str | None
    channel: Channel
    address: str | None
    locale: str
    step: int
    status: Status
    reason: Reason | None
    attempts: int
    provider: str | None
    code: str | None
    template_id: uuid.UUID | None
    created_at: datetime
    updated_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    opened_at: datetime | None
    clicked_at: datetime | None


class StepOut(BaseModel):
    at: datetime
    actor: Actor
    from_: Status = Field(alias="from")
    to: Status
    attempt: int
    claim: int
    provider: str | None
    code: str | None
    detail: str | None


class JourneyOut(DeliveryOut):
    journey: list[StepOut]


class DeliveriesOut(BaseModel):
    """A page. next_cursor: what to pass as `cursor` for the next one; null at the end."""

    deliveries: list[DeliveryOut]
    next_cursor: str | None


class CancelledOut(BaseModel):
    """stopped: will never be sent. in_flight: a worker holds it. sent: had been sent before.

    is_first: false where a cancel, or an acknowledgement, had stopped it before.
    fanned_out: false where the event had not been fanned out: the rest never is.
    """

    stopped: int
    in_flight: int
    sent: int
    is_first: bool
    fanned_out: bool


class AcknowledgedOut(BaseModel):
    """is_first: whether this is the acknowledgement that counts. stopped: will never be sent."""

    event_id: uuid.UUID
    is_first: bool
    stopped: int
