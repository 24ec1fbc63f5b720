"""What the sandbox has captured of a tenant's."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from notifier import sandbox
from notifier.http.bodies import sandbox as bodies
from notifier.http.bodies.given import Word
from notifier.http.gate import caller_of
from notifier.http.wire import JsonRoute, answer
from notifier.store.tenancy import transaction
from notifier.words import Channel

router = APIRouter(prefix="/v1", tags=["sandbox"], route_class=JsonRoute)


@router.get("/sandbox/messages", response_model=bodies.CapturedListOut)
def list_captured(
    request: Request,
    channel: Channel | None = None,
    recipient: Annotated[Word | None, Query(description="an external id")] = None,
    limit: Annotated[int, Query(ge=1, le=sandbox.MOST)] = 100,
) -> Response:
    """Messages that the sandbox captured instead of sending them, the newest first."""
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        found = sandbox.listed(
            connection, tenant, channel=channel, recipient=recipient, limit=limit
        )
    return answer({"messages": [asdict(message) for message in found]})
