"""The page and the one-click POST behind every List-Unsubscribe header (RFC 8058)."""

import base64
import hashlib

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from notifier import unsubscribe
from notifier.store import audience
from notifier.store.engine import connect

router = APIRouter(tags=["unsubscribe"])

_STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:18vh auto;padding:0 1.5rem}"
    "button{font:inherit;padding:.6rem 1.4rem;border:1px solid;border-radius:.4rem;cursor:pointer}"
    ":root{color-scheme:light dark}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}
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
    return _page(_ASK) if unsubscribe.read(token) else _page(_UNKNOWN, 404)


@router.post("/u/{token}", response_class=HTMLResponse)
def act(token: str) -> HTMLResponse:
    """Unsubscribe, without login or redirect."""
    delivery = unsubscribe.read(token)
    if delivery is None:
        return _page(_UNKNOWN, 404)
    with connect() as connection, connection.begin():
        known = audience.unsubscribe(connection, delivery)
    return _page(_DONE) if known else _page(_UNKNOWN, 404)


def _page(content: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Unsubscribe</title>'
        f"<style>{_STYLE}</style>{content}</html>",
        status,
        _HEADERS,
    )
