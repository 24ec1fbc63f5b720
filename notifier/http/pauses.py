"""A tenant's own pauses."""

import uuid
from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.responses import Response

from notifier import pauses
from notifier.http.bodies import pauses as bodies
from notifier.http.gate import caller_of
from notifier.http.wire import JsonRoute, answer
from notifier.store.tenancy import transaction

router = APIRouter(prefix="/v1", tags=["pauses"], route_class=JsonRoute)


@router.post("/pauses", response_model=bodies.BegunOut, status_code=201)
def begin(request: Request, body: bodies.PauseIn) -> Response:
    """Have the tenant's messages wait, all or those that fit what is given. Nothing is lost."""
    caller = caller_of(request)
    with transaction(caller.tenant_id) as connection:
        made = pauses.begin(
            connection,
            tenant=caller.tenant_id,
            channel=body.channel,
            provider=body.provider,
            event_type=body.event_type,
            reason=body.reason,
            actor=f"api_key:{caller.key_id}",
            until=body.until,
        )
    return answer({"id": made}, 201)


@router.get("/pauses", response_model=bodies.PausesOut)
def active(request: Request) -> Response:
    """The tenant's own pauses that hold now, the oldest first."""
    with transaction(caller_of(request).tenant_id) as connection:
        return answer({"pauses": [asdict(pause) for pause in pauses.active(connection)]})


@router.delete("/pauses/{pause_id}", response_model=bodies.ResumedOut)
def end(request: Request, pause_id: uuid.UUID) -> Response:
    """End a pause: what waited for it is due at once."""
    caller = caller_of(request)
    with transaction(caller.tenant_id) as connection:
        released = pauses.end(
            connection, pause_id, tenant=caller.tenant_id, actor=f"api_key:{caller.key_id}"
        )
    return answer({"dispatches": released})
