"""A tenant's connections to accounts at vendors, and the page that vendors send people back to."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from notifier import connections
from notifier.channels.contract import Provider
from notifier.channels.oauth import NoGrant
from notifier.errors import NotFoundError
from notifier.http.bodies import connections as bodies
from notifier.http.bodies.given import Word
from notifier.http.gate import caller_of
from notifier.http.pages import page
from notifier.http.problems import Fault
from notifier.http.wire import JsonRoute, answer
from notifier.log import logger
from notifier.sealing import NoKey
from notifier.store.tenancy import transaction

router = APIRouter(prefix="/v1", tags=["connections"], route_class=JsonRoute)
pages = APIRouter(tags=["connections"])

log = logger("http.connections")

_TITLE = "Connect"
_DONE = "<h1>Connected</h1><p>The account is connected. You can close this page.</p>"
_UNKNOWN = (
    "<h1>This link does not work</h1>"
    "<p>It was used before, is too old, or is not one of ours. Begin again.</p>"
)
_REFUSED = "<h1>Not connected</h1><p>It was not allowed ({}). Begin again to change that.</p>"
_FAILED = (
    "<h1>Not connected</h1><p>It was allowed, but no access was given ({}). Begin again later.</p>"
)


@router.post("/connections/{provider}", response_model=bodies.ConnectionBegunOut, status_code=201)
def begin(request: Request, provider: Word) -> Response:
    """The address at which whoever owns an account of the vendor connects it to the tenant."""
    known = connections.connectable(_providers(request), provider)
    tenant = caller_of(request).tenant_id
    try:
        with transaction(tenant) as connection:
            begun = connections.begin(connection, tenant, known)
    except NoKey as fault:
        raise Fault(503, "not_configured", str(fault)) from None
    return answer(asdict(begun), 201)


@router.get("/connections", response_model=bodies.ConnectionsOut)
def listed(request: Request) -> Response:
    """The tenant's connections, those that were revoked too, the oldest first."""
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        found = [asdict(each) for each in connections.listed(connection, tenant)]
    for each in found:
        del each["tenant_id"]
    return answer({"connections": found})


@router.delete("/connections/{connection_id}", response_model=bodies.DisconnectedOut)
def end(request: Request, connection_id: uuid.UUID) -> Response:
    """Forget a connection's tokens, and have the vendor forget them."""
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        ended = connections.end(connection, connection_id, tenant=tenant)
    return answer({"at_vendor": connections.tell_vendor(ended, _providers(request))})


@pages.get("/oauth/{provider}/callback", response_class=HTMLResponse)
def made(
    request: Request, provider: str, state: str = "", code: str = "", error: str = ""
) -> HTMLResponse:
    """Where the vendor sends back whoever was asked, with a code or with the reason for none."""
    try:
        known = connections.connectable(_providers(request), provider)
    except NotFoundError:
        return page(_TITLE, _UNKNOWN, 404)
    pending = connections.use(known, state)
    if pending is None:
        log.warning("state_refused", provider=provider)
        return page(_TITLE, _UNKNOWN, 400)
    if not code:
        return page(_TITLE, _REFUSED.format(_plain(error)), 400)
    try:
        connections.make(pending, known, code)
    except NoGrant as fault:
        log.warning("not_granted", provider=provider, tenant=pending.tenant_id, code=fault.code)
        return page(_TITLE, _FAILED.format(_plain(fault.code)), 502)
    return page(_TITLE, _DONE)


def _providers(request: Request) -> Mapping[str, Provider]:
    found: Mapping[str, Provider] = request.app.state.providers
    return found


def _plain(word: str) -> str:
    """A code as it may stand on a page: anybody can write what comes in an address."""
    return word if re.fullmatch(r"[a-z0-9_]{1,64}", word) else "no reason given"
