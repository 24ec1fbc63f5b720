"""The small pages that recipients meet: plain, without scripts, kept by nobody."""

import base64
import hashlib

from starlette.responses import HTMLResponse

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


def page(title: str, content: str, status: int = 200) -> HTMLResponse:
    """A page of `content`, which is HTML of ours and quotes nobody."""
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
        f"<style>{_STYLE}</style>{content}</html>",
        status,
        _HEADERS,
    )
