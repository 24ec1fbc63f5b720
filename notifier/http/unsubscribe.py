"""The page and the one-click POST behind every List-Unsubscribe header (RFC 8058)."""

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from notifier import unsubscribe
from notifier.http.pages import page
from notifier.store import audience
from notifier.store.engine import connect

router = APIRouter(tags=["unsubscribe"])

_TITLE = "Unsubscribe"
# A form without an action posts to the page's own address, token and all.
_ASK = (
    "<h1>Unsubscribe</h1><p>Stop e-mails of this kind to your address?</p>"
    '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
    '<button type="submit">Unsubscribe</button></form>'
)
_DONE = "<h1>You are unsubscribed</h1><p>You will get no more e-mails of this kind.</p>"
_UNKNOWN = (
    "<h1>This link does not work</h1>"
    "<p>It is incomplete or too old. A newer e-mail has a link that works.</p>"
)


@router.get("/u/{token}", response_class=HTMLResponse)
def ask(token: str) -> HTMLResponse:
    """A page with a button. It changes nothing: mail scanners follow every link."""
    return page(_TITLE, _ASK) if unsubscribe.read(token) else page(_TITLE, _UNKNOWN, 404)


@router.post("/u/{token}", response_class=HTMLResponse)
def act(token: str) -> HTMLResponse:
    """Unsubscribe, without login or redirect."""
    delivery = unsubscribe.read(token)
    if delivery is None:
        return page(_TITLE, _UNKNOWN, 404)
    with connect() as connection, connection.begin():
        known = audience.unsubscribe(connection, delivery)
    return page(_TITLE, _DONE) if known else page(_TITLE, _UNKNOWN, 404)
