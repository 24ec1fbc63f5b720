"""Recipients, what they subscribe to and prefer, topics, and the catalogue of event types."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Path, Request
from sqlalchemy import Connection
from starlette.responses import Response

from notifier.errors import InvalidAddress, InvalidValue, NotFoundError, Refused, UnknownEventType
from notifier.http.bodies import recipients as bodies
from notifier.http.bodies.given import Word
from notifier.http.gate import caller_of
from notifier.http.wire import JsonRoute, answer
from notifier.store import audience, templates
from notifier.store.tenancy import transaction

router = APIRouter(prefix="/v1", tags=["recipients"], route_class=JsonRoute)

ExternalId = Annotated[Word, Path(description="the tenant's own id of a recipient")]


@router.put("/recipients/{external_id}", response_model=bodies.RecipientOut)
def put_recipient(
    request: Request, external_id: ExternalId, body: bodies.RecipientBody
) -> Response:
    """Create a recipient or replace what is known of it; contact points are added."""
    tenant = caller_of(request).tenant_id
    given = {"external_id": external_id, **body.model_dump(mode="json", exclude_none=True)}
    with transaction(tenant) as connection:
        try:
            audience.upsert_recipients(connection, tenant, [given])
        except (InvalidAddress, InvalidValue) as refused:
            raise type(refused)(
                refused.field.removeprefix("recipients[0]."), refused.expected
            ) from None
        found = audience.find_recipient(connection, tenant, external_id)
    return answer(found)


@router.post("/recipients/batch", response_model=bodies.UpsertedOut)
def put_recipients(request: Request, body: bodies.RecipientBatchIn) -> Response:
    """Create or replace 1 to 1000 recipients: all of them, or none and the fault of the first."""
    tenant = caller_of(request).tenant_id
    given = [each.model_dump(mode="json", exclude_none=True) for each in body.recipients]
    with transaction(tenant) as connection:
        ids = audience.upsert_recipients(connection, tenant, given)
    return answer({"upserted": len(ids)})


@router.get("/recipients/{external_id}", response_model=bodies.RecipientOut)
def read_recipient(request: Request, external_id: ExternalId) -> Response:
    """A recipient with contact points, subscriptions and preferences."""
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        found = audience.find_recipient(connection, tenant, external_id)
    if found is None:
        raise _no_recipient()
    return answer(found)


@router.put(
    "/recipients/{external_id}/subscriptions/{event_type}", response_model=bodies.SubscriptionOut
)
def put_subscription(
    request: Request, external_id: ExternalId, event_type: Word, body: bodies.SubscriptionIn
) -> Response:
    """Subscribe a recipient to an event type, or change the subscription."""
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        recipient = _recipient(connection, tenant, external_id)
        if not templates.is_event_type(connection, event_type):
            raise UnknownEventType("event_type", "a registered event type")
        audience.subscribe(
            connection,
            tenant,
            event_type,
            [recipient],
            is_active=body.is_active,
            admin_only=body.admin_only,
        )
    return answer({"event_type": event_type, **body.model_dump()})


@router.put("/recipients/{external_id}/preferences", response_model=bodies.PreferenceOut)
def put_preference(
    request: Request, external_id: ExternalId, body: bodies.PreferenceIn
) -> Response:
    """Set whether a recipient wants a channel for an event type, a category, or everything."""
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        recipient = _recipient(connection, tenant, external_id)
        if not audience.is_scope(connection, body.scope):
            raise InvalidValue("scope", "an event type, category:… with a category of one, or *")
        audience.prefer(
            connection, tenant, recipient, body.scope, body.channel, enabled=body.enabled
        )
    return answer(body.model_dump(mode="json"))


@router.put("/topics/{name}/members", response_model=bodies.TopicOut, tags=["topics"])
def put_members(request: Request, name: Word, body: bodies.MembersIn) -> Response:
    """Make these recipients the whole of a topic, which is created where it is missing."""
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        members = audience.ids_of(connection, tenant, body.recipients)
        audience.replace_members(connection, tenant, name, members)
    return answer({"name": name, "members": len(set(members))})


@router.get("/event-types", response_model=bodies.EventTypesOut, tags=["event types"])
def list_event_types(request: Request) -> Response:
    """Every event type that may be emitted, with the schema its payload has to fit."""
    with transaction(caller_of(request).tenant_id) as connection:
        found = templates.event_types(connection)
    return answer({"event_types": found})


def _recipient(connection: Connection, tenant: uuid.UUID, external_id: str) -> uuid.UUID:
    try:
        (recipient,) = audience.ids_of(connection, tenant, [external_id])
    except Refused:
        raise _no_recipient() from None
    return recipient


def _no_recipient() -> NotFoundError:
    return NotFoundError("external_id", "the external id of a recipient of this tenant")
