"""Addresses that a tenant's notifications are not sent to."""

import re
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from notifier import suppressions
from notifier.http.bodies import suppressions as bodies
from notifier.http.gate import caller_of
from notifier.http.wire import JsonRoute, answer, read_cursor, to_cursor
from notifier.store.suppressions import Place
from notifier.store.tenancy import transaction
from notifier.words import Channel

router = APIRouter(prefix="/v1", tags=["suppressions"], route_class=JsonRoute)


@router.get("/suppressions", response_model=bodies.SuppressionsOut)
def listed(
    request: Request,
    channel: Channel | None = None,
    cursor: Annotated[str | None, Field(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=suppressions.MOST)] = 100,
) -> Response:
    """The tenant's suppressions, the newest first."""
    tenant = caller_of(request).tenant_id
    after = None if cursor is None else read_cursor(cursor, _place)
    with transaction(tenant) as connection:
        page, following = suppressions.listed(
            connection, tenant=tenant, channel=channel, after=after, limit=limit
        )
    shown = [asdict(each) for each in page]
    for each in shown:
        del each["tenant_id"]
    next_cursor = following and to_cursor(_written(following))
    return answer({"suppressions": shown, "next_cursor": next_cursor})


@router.post(
    "/suppressions",
    response_model=bodies.AddedOut,
    status_code=201,
    responses={200: {"model": bodies.AddedOut}},
)
def add(request: Request, body: bodies.SuppressionIn) -> Response:
    """Send an address nothing more: 201, or 200 where it is suppressed already.

    Events refuse it from their next fan-out on; what is on its way goes out.
    """
    caller = caller_of(request)
    with transaction(caller.tenant_id) as connection:
        is_new = suppressions.add(
            connection,
            caller.tenant_id,
            body.channel,
            body.address,
            body.reason,
            actor=f"api_key:{caller.key_id}",
        )
    return answer({"is_new": is_new}, 201 if is_new else 200)


# The address is in the body: a URL is written into the logs of whatever stands between.
@router.delete("/suppressions", response_model=bodies.LiftedOut)
def lift(request: Request, body: bodies.AddressIn) -> Response:
    """Send to an address again, also to one that was retired; not where its recipient said no."""
    caller = caller_of(request)
    with transaction(caller.tenant_id) as connection:
        lifted = suppressions.lift(
            connection,
            caller.tenant_id,
            body.channel,
            body.address,
            actor=f"api_key:{caller.key_id}",
        )
    return answer(asdict(lifted))


def _written(place: Place) -> bytes:
    return f"{place.created_at.isoformat()} {place.mark}".encode()


def _place(raw: bytes) -> Place:
    written, _, mark = raw.decode().partition(" ")
    created_at = datetime.fromisoformat(written)
    if created_at.tzinfo is None or not re.fullmatch("[0-9a-f]{32}", mark):
        raise ValueError
    return Place(created_at, mark)
