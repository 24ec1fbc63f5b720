"""The page that shows messages as they would look. Made of data alone: it loads nothing."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

_LINK = re.compile(r"<(https?://[^|>]+)\|([^>]+)>")
_WEB = re.compile(r"https?://\S+")


def page(tenant_name: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """messages: what `gallery.html` shows of each; everything in them is plain text but for the
    part `html`, which stands in a frame that can run nothing.
    """
    return _template().render(tenant_name=tenant_name, messages=messages)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["mrkdwn"] = _mrkdwn
    environment.tests["web"] = lambda url: bool(_WEB.fullmatch(url))
    source = (files(__package__) / "gallery.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def _mrkdwn(text: str) -> Markup:
    """Slack's markup as we write it: text that is escaped, and links."""
    quoted = text.replace('"', "&#34;").replace("'", "&#39;")
    return Markup(_LINK.sub(r'<a href="\1">\2</a>', quoted))
