"""Files for the e-mails of events that name them."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from notifier.attach import attach
from notifier.http.bodies import attachments as bodies
from notifier.http.gate import caller_of
from notifier.http.wire import answer
from notifier.store.tenancy import transaction

router = APIRouter(prefix="/v1", tags=["attachments"])

_FILE = {"schema": {"type": "string", "format": "binary"}}


@router.post(
    "/attachments",
    status_code=201,
    response_model=bodies.AttachmentOut,
    openapi_extra={"requestBody": {"required": True, "content": {"*/*": _FILE}}},
)
async def keep_attachment(
    request: Request, name: Annotated[str, Query(description="as its reader is to see it")]
) -> Response:
    """Keep the body, of at most 7,000,000 bytes and the request's content type, as a file."""
    tenant = caller_of(request).tenant_id
    given = request.headers.get("content-type", "").partition(";")[0].strip()
    # curl sends this where it was told nothing.
    media_type = None if given in ("", "application/x-www-form-urlencoded") else given
    made = await run_in_threadpool(_keep, tenant, await request.body(), name, media_type)
    return answer({"id": made}, 201)


def _keep(tenant: uuid.UUID, content: bytes, name: str, media_type: str | None) -> uuid.UUID:
    with transaction(tenant) as connection:
        return attach(connection, content, tenant=tenant, name=name, media_type=media_type)
