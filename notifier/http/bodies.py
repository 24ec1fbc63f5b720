"""The bodies of requests and answers: what is read, and what OpenAPI says of both."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from notifier.http.problems import Problem
from notifier.status import Actor, Reason, Status
from notifier.words import LOCALE, LONGEST_LOCALE, Channel, ConnectionStatus, Lane, Source

Word = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A name or an id of the tenant's own: 1 to 200 characters, none of them a control character."""


class Given(BaseModel):
    """A body that refuses every field it does not know."""

    model_config = ConfigDict(extra="forbid")


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


class ContactPointIn(Given):
    channel: Channel
    address: str
    secret: Annotated[str, Field(min_length=1, max_length=500)] | None = None


class RecipientBody(Given):
    """A recipient; what is left out takes its default, but contact points are only ever added."""

    name: Annotated[str, Field(max_length=200)] | None = None
    is_admin: StrictBool = False
    locale: Annotated[str, Field(max_length=LONGEST_LOCALE, pattern=f"^{LOCALE}$")] = "en"
    timezone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"
    attributes: dict[str, Any] = {}
    contact_points: Annotated[list[ContactPointIn], Field(max_length=100)] = []


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


class ConnectionBegunOut(BaseModel):
    """authorize_url: where whoever owns the account allows us in, once, until expires_at."""

    authorize_url: str
    expires_at: datetime


class ConnectionOut(BaseModel):
    """An account that is connected, or was. expires_at: of its token, which is refreshed before."""

    id: uuid.UUID
    provider: str
    account_id: str | None
    account_name: str | None
    scopes: list[str]
    status: ConnectionStatus
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None


class ConnectionsOut(BaseModel):
    connections: list[ConnectionOut]


class DisconnectedOut(BaseModel):
    """at_vendor: whether the vendor says that it takes the tokens no more."""

    at_vendor: bool


class TemplateIn(Given):
    """A new version's sources by part. payload: an example for event types that ship none."""

    parts: dict[str, str]
    payload: dict[str, Any] | None = None


class PreviewIn(Given):
    """What to render. parts: sources that are not saved; else what a delivery would take.

    payload: else the event type's example, where it ships one.
    """

    channel: str
    locale: str = "en"
    timezone: str = "UTC"
    payload: dict[str, Any] | None = None
    parts: dict[str, str] | None = None


class VersionOut(BaseModel):
    """One version of a template. is_own: the tenant's own, else shared by all."""

    id: uuid.UUID
    event_type: str
    channel: str
    locale: str
    version: int
    is_own: bool
    created_at: datetime


class TemplatesOut(BaseModel):
    """By channel and locale, the tenant's own first, of each the newest versions first."""

    templates: list[VersionOut]


class TemplateOut(VersionOut):
    """parts: sources by name."""

    parts: dict[str, str]


class SmsOut(BaseModel):
    """How long a text is by SMS. units: characters as the encoding counts them."""

    encoding: Literal["GSM-7", "UCS-2"]
    units: int
    segments: int


class PreviewOut(BaseModel):
    """parts: as a recipient would get them. template: the version taken, where it is stored."""

    parts: dict[str, str]
    template: VersionOut | None
    sms: SmsOut | None


class AttachmentOut(BaseModel):
    """A file that was kept; the same file, name and type have the same id."""

    id: uuid.UUID


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
    """stopped: will never be sent. in_flight: a worker holds it. sent: had been sent before."""

    stopped: int
    in_flight: int
    sent: int


class AcknowledgedOut(BaseModel):
    """is_first: whether this is the acknowledgement that counts. stopped: will never be sent."""

    event_id: uuid.UUID
    is_first: bool
    stopped: int


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
    """payload_schema: the subset of JSON Schema that a payload has to fit."""

    name: str
    description: str
    category: str
    payload_schema: dict[str, Any]
    channels: list[Channel]
    lane: Lane
    mutable: bool
    escalation: list[EscalationStep]


class EventTypesOut(BaseModel):
    event_types: list[EventTypeOut]
