"""The page behind a magic link, and the POST of its button."""

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from notifier import magic_links
from notifier.http.pages import page

router = APIRouter(tags=["acknowledge"])

_TITLE = "Acknowledge"
# A form without an action posts to the page's own address, token and all.
_ASK = (
    "<h1>Acknowledge</h1><p>Say that you take care of it. Nobody else is asked then.</p>"
    '<form method="post"><button type="submit">I take care of it</button></form>'
)
_DONE = "<h1>Acknowledged</h1><p>Thank you. Nobody else is asked.</p>"
_BEFORE = "<h1>Acknowledged before</h1><p>Somebody takes care of it already.</p>"
_USED = "<h1>This link was used before</h1><p>It works once, and was used.</p>"
_EXPIRED = "<h1>This link is too old</h1><p>What it spoke of is over.</p>"
_UNKNOWN = "<h1>This link does not work</h1><p>It is incomplete, or not one of ours.</p>"


@router.get("/a/{token}", response_class=HTMLResponse)
def ask(token: str) -> HTMLResponse:
    """A page with a button. It changes nothing: mail scanners follow every link."""
    match magic_links.state(token):
        case "good":
            return page(_TITLE, _ASK)
        case "used":
            return page(_TITLE, _USED, 410)
        case "expired":
            return page(_TITLE, _EXPIRED, 410)
    return page(_TITLE, _UNKNOWN, 404)


@router.post("/a/{token}", response_class=HTMLResponse)
def act(token: str) -> HTMLResponse:
    """Acknowledge, without login or redirect. Of several at once, one is the first."""
    done = magic_links.use(token)
    if done is None:
        return ask(token)
    return page(_TITLE, _DONE if done.is_first else _BEFORE)
