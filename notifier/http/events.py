"""Emit over HTTP, one or many, and read back what became of an event."""

import uuid
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from notifier.acknowledge import Acknowledgement, acknowledge
from notifier.cancel import cancel
from notifier.emit import Event, emit
from notifier.errors import NotFoundError, Refused
from notifier.http import problems
from notifier.http.bodies import events as bodies
from notifier.http.bodies.given import Given, Word
from notifier.http.gate import Visit, caller_of, visit_of
from notifier.http.problems import Fault
from notifier.http.wire import JsonRoute, answer, read_cursor, read_json, to_cursor
from notifier.status import Status
from notifier.store import events
from notifier.store.tenancy import transaction
from notifier.words import Channel

router = APIRouter(prefix="/v1", tags=["events"], route_class=JsonRoute)

_MOST = 1000
_FIELDS = tuple(bodies.EventIn.model_fields)
_REQUIRED = ("event_type", "payload")
_MAIN = {*_REQUIRED, "audience"}


def takes(model: type[Given]) -> dict[str, Any]:
    """The OpenAPI of a body that the route reads by itself."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


# These two bodies are checked by hand and by the SQL that checks every emit: a model would check
# all of it once more, at the price of the emit itself.


@router.post(
    "/events",
    status_code=202,
    response_model=bodies.EventOut,
    responses={200: {"model": bodies.EventOut, "description": "Emitted before with this key"}},
    openapi_extra=takes(bodies.EventIn),
)
async def emit_event(request: Request) -> Response:
    """Emit an event. An idempotency key that was used with the same body answers 200."""
    tenant = caller_of(request).tenant_id
    item = read_json(await request.body())
    event = await run_in_threadpool(_emit_one, tenant, item, visit_of(request))
    return answer(_shape(event), 202 if event.is_new else 200)


@router.post(
    "/events/batch",
    response_model=bodies.BatchOut,
    openapi_extra=takes(bodies.EventBatchIn),
)
async def emit_batch(request: Request) -> Response:
    """Emit 1 to 1000 events in one transaction; a refused one does not keep the others back."""
    tenant = caller_of(request).tenant_id
    items = _batch(read_json(await request.body()))
    results = await run_in_threadpool(_emit_batch, tenant, items, visit_of(request))
    return answer({"results": results})


@router.get("/events/{event_id}", response_model=bodies.EventDetailOut)
def read_event(request: Request, event_id: uuid.UUID) -> Response:
    """An event, and how many of its deliveries stand in each status."""
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        found = events.find(connection, tenant, event_id)
    if found is None:
        raise _no_event()
    return answer(found)


@router.get("/events/{event_id}/deliveries", response_model=bodies.DeliveriesOut)
def list_deliveries(
    request: Request,
    event_id: uuid.UUID,
    status: Status | None = None,
    channel: Channel | None = None,
    recipient: Annotated[Word | None, Query(description="an external id")] = None,
    cursor: Annotated[str | None, Field(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """The deliveries of an event, those that were refused with their reason among them."""
    tenant = caller_of(request).tenant_id
    after = None if cursor is None else read_cursor(cursor, _last)
    with transaction(tenant) as connection:
        if not events.exists(connection, tenant, event_id):
            raise _no_event()
        page = events.page(
            connection,
            tenant,
            event_id,
            after=after,
            limit=limit + 1,
            status=status,
            channel=channel,
            recipient=recipient,
        )
    more = len(page) > limit
    shown = page[:limit]
    return answer(
        {"deliveries": shown, "next_cursor": to_cursor(shown[-1]["id"].bytes) if more else None}
    )


@router.post("/events/{event_id}/cancel", response_model=bodies.CancelledOut)
def cancel_event(request: Request, event_id: uuid.UUID) -> Response:
    """Cancel an event, also while it fans out: what has not been sent never is."""
    caller = caller_of(request)
    actor = f"api_key:{caller.key_id}"
    return answer(asdict(cancel(event=event_id, tenant=caller.tenant_id, actor=actor)))


@router.post("/events/{event_id}/acknowledge", response_model=bodies.AcknowledgedOut)
def acknowledge_event(request: Request, event_id: uuid.UUID) -> Response:
    """Say that somebody takes care of an event: the rest of it, and its escalation, is stopped."""
    caller = caller_of(request)
    how = f"api_key:{caller.key_id}"
    return answer(_said(acknowledge(event=event_id, tenant=caller.tenant_id, how=how)))


@router.get("/deliveries/{delivery_id}", response_model=bodies.JourneyOut, tags=["deliveries"])
def read_delivery(request: Request, delivery_id: uuid.UUID) -> Response:
    """A delivery and its journey: every move it made, the oldest first."""
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        found = events.find_delivery(connection, tenant, delivery_id)
    if found is None:
        raise NotFoundError("delivery_id", "the id of a delivery of this tenant")
    return answer(found)


@router.post(
    "/deliveries/{delivery_id}/cancel", response_model=bodies.CancelledOut, tags=["deliveries"]
)
def cancel_delivery(request: Request, delivery_id: uuid.UUID) -> Response:
    """Cancel one delivery, unless it has been sent."""
    caller = caller_of(request)
    actor = f"api_key:{caller.key_id}"
    return answer(asdict(cancel(delivery=delivery_id, tenant=caller.tenant_id, actor=actor)))


@router.post(
    "/deliveries/{delivery_id}/acknowledge",
    response_model=bodies.AcknowledgedOut,
    tags=["deliveries"],
)
def acknowledge_delivery(request: Request, delivery_id: uuid.UUID) -> Response:
    """Say that the recipient of a delivery takes care of its event."""
    caller = caller_of(request)
    how = f"api_key:{caller.key_id}"
    return answer(_said(acknowledge(delivery=delivery_id, tenant=caller.tenant_id, how=how)))


def _said(done: Acknowledgement) -> dict[str, Any]:
    return {"event_id": done.event_id, "is_first": done.is_first, "stopped": done.stopped}


def _emit_one(tenant: uuid.UUID, item: Any, visit: Visit) -> Event:
    with transaction(tenant) as connection:
        return _emit(connection, tenant, item, visit)


def _emit_batch(tenant: uuid.UUID, items: list[Any], visit: Visit) -> list[dict[str, Any]]:
    try:
        return _emit_all(tenant, items, visit, guarded=False)
    except (DataError, OperationalError):
        # An item that broke the transaction rather than being refused, or a deadlock: once more,
        # each item behind a savepoint of its own, which would cost every batch a third.
        return _emit_all(tenant, items, visit, guarded=True)


def _emit_all(
    tenant: uuid.UUID, items: list[Any], visit: Visit, *, guarded: bool
) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = [{} for _ in items]
    with transaction(tenant) as connection:
        # Two batches that lock the same keys in another order would wait for each other.
        for place in sorted(range(len(items)), key=lambda place: _key(items[place])):
            try:
                if guarded:
                    with connection.begin_nested():
                        event = _emit(connection, tenant, items[place], visit)
                else:
                    event = _emit(connection, tenant, items[place], visit)
            except Refused as refused:
                problem = problems.of(refused)
            except Fault as fault:
                problem = fault.content
            except DataError:
                if not guarded:
                    raise
                problem = problems.not_storable()
            else:
                status = 202 if event.is_new else 200
                results[place] = {"status": status, "event": _shape(event)}
                continue
            results[place] = {"status": problem["status"], "problem": problem}
    return results


def _emit(connection: Connection, tenant: uuid.UUID, item: Any, visit: Visit) -> Event:
    """Emit one item; raises what it is refused for, with nothing written."""
    if not isinstance(item, dict):
        raise _invalid("body", "an object")
    for name in item:
        if name not in _FIELDS:
            raise _invalid(name, f"one of {', '.join(_FIELDS)}")
    for name in _REQUIRED:
        if name not in item:
            raise _invalid(name, "a value: it is required")
    if not isinstance(item["event_type"], str):
        raise _invalid("event_type", "a string")
    options = {name: value for name, value in item.items() if name not in _MAIN}
    if visit.given and options.get("correlation_id") is None:
        options["correlation_id"] = visit.correlation_id
    return emit(
        connection,
        item["event_type"],
        item["payload"],
        tenant=tenant,
        to=item.get("audience", "subscribers"),
        **options,
    )


def _batch(body: Any) -> list[Any]:
    if not isinstance(body, dict):
        raise _invalid("body", "an object")
    for name in body:
        if name != "events":
            raise _invalid(name, "one of events")
    items = body.get("events")
    if not isinstance(items, list) or not 1 <= len(items) <= _MOST:
        raise _invalid("events", f"a list of 1 to {_MOST} events")
    return items


def _key(item: Any) -> str:
    key = item.get("idempotency_key") if isinstance(item, dict) else None
    return key if isinstance(key, str) else ""


def _shape(event: Event) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "is_new": event.is_new,
        "matched": event.matched,
        "created": event.created,
        "refused": event.refused,
        "correlation_id": event.correlation_id,
    }


def _invalid(field: str, expected: str) -> Fault:
    detail = f"{field}: expected {expected}"
    return Fault(422, "invalid_request", detail, field=field, expected=expected)


def _no_event() -> NotFoundError:
    return NotFoundError("event_id", "the id of an event of this tenant")


def _last(raw: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=raw)
