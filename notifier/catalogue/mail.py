"""Puts the catalogue's mails and spoken texts into their layouts, once, when they are loaded.

Mail clients drop style sheets, so each element carries its style itself. Bodies are written
as bare HTML (`<h1>`, `<p>`, `<ul>`, `<li>`, `<p class="small">`, `<a class="button">`), and
get the styles here: fourteen bodies, one look.
"""

import re

_BODY = "<!-- body -->"
_PREHEADER = "<!-- preheader -->"

_INK = "color:#1c2027"
_STYLES = {
    "<h1>": f'<h1 style="margin:0 0 16px;font-size:22px;line-height:30px;{_INK};">',
    "<p>": f'<p style="margin:0 0 16px;font-size:16px;line-height:24px;{_INK};">',
    "<ul>": '<ul style="margin:0 0 16px;padding:0 0 0 22px;">',
    "<li>": f'<li style="margin:0 0 6px;font-size:16px;line-height:24px;{_INK};">',
    '<p class="small">': (
        '<p class="small" style="margin:0;font-size:14px;line-height:21px;color:#616975;">'
    ),
}
_BUTTON = re.compile(r'<a class="button" href="([^"]+)">([^<]+)</a>')
# A table cell with a background of its own is the one button Outlook draws too.
_BUTTON_TABLE = (
    '<table role="presentation" cellpadding="0" cellspacing="0" style="margin:8px 0 24px;"><tr>'
    '<td bgcolor="#2f5bea" style="background:#2f5bea;border-radius:8px;">'
    r'<a href="\1" style="display:inline-block;padding:12px 24px;font-size:16px;'
    r'font-weight:600;line-height:20px;color:#ffffff;text-decoration:none;">\2</a>'
    "</td></tr></table>"
)


def compose_html(layout: str, body: str, preheader: str) -> str:
    """The source of a whole mail.

    preheader: source of the line that inboxes show beside the subject.
    """
    for bare, styled in _STYLES.items():
        body = body.replace(bare, styled)
    body = _BUTTON.sub(_BUTTON_TABLE, body)
    return layout.replace(_PREHEADER, preheader.strip()).replace(_BODY, body.strip())


def compose_text(layout: str, body: str) -> str:
    """The source of a plain text with what its layout says before and after it."""
    return layout.replace(_BODY, body.strip())
