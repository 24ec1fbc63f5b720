"""A text for a mail that has only HTML: a template's source made of a template's source.

It is made when the template is compiled; the Jinja of the HTML's text is that of the text, too.
Where elements begin and end there stand signs, made into blanks and line ends once it is rendered:
only then is it known what is beside what.
"""

import html
import re

from notifier.rendering.markup import MARK, Masked, Tag, read

_LINE, _GAP, _ITEM = "\ue002", "\ue003", "\ue004"
"""A new line at least; an empty line; the next entry of a list. Characters of private use."""

_AROUND = {
    **dict.fromkeys(["address", "caption", "dd", "div", "dt", "footer", "header", "li"], _LINE),
    **dict.fromkeys(["main", "section", "tr"], _LINE),
    **dict.fromkeys(["article", "blockquote", "dl", "figure", "h1", "h2", "h3", "h4"], _GAP),
    **dict.fromkeys(["h5", "h6", "hr", "ol", "p", "pre", "table", "ul"], _GAP),
    **dict.fromkeys(["td", "th"], " "),
    "br": "\n",
}
"""What stands where an element begins and where it ends."""

_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"]
)
_RUN = re.compile(f"[ \n{_LINE}-{_ITEM}]{{2,}}|[{_LINE}-{_ITEM}]")
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_SYNTAX = re.compile(r"\{(?=[{%#])")
_WEB = ("http://", "https://", "\ue000")


def text_of(source: str) -> str:
    """The source of a text that says what the HTML of `source` shows; a link is followed by where
    it leads. To be compiled without `trim_blocks` and `lstrip_blocks`, and rendered, `tidied`.
    """
    masked = Masked(source)
    text = _Text(masked)
    hidden: str | None = None
    depth = 0
    for piece in read(masked.text):
        if hidden is not None:
            if isinstance(piece, str):
                text.keep_statements(piece)
            elif piece.name == hidden:
                depth += -1 if piece.closes else 1
                hidden = hidden if depth else None
        elif isinstance(piece, str):
            text.say(piece)
        elif not piece.closes and piece.name not in _VOID and _is_hidden(piece):
            hidden, depth = piece.name, 1
        else:
            text.meet(piece)
    return masked.source(text.written())


def tidied(rendered: str) -> str:
    """A rendered text with its signs made into blanks and line ends, two in a row at most."""
    return _RUN.sub(_between, rendered)


def _between(run: re.Match[str]) -> str:
    signs = run[0]
    lines = 2 if _GAP in signs else max(min(signs.count("\n"), 2), _LINE in signs)
    if not lines:
        return " "
    return "\n" * lines + ("- " if _ITEM in signs else "")


def _is_hidden(tag: Tag) -> bool:
    return tag.name == "head" or _HIDDEN.search(tag.attribute("style") or "") is not None


class _Text:
    """What is written so far."""

    def __init__(self, masked: Masked) -> None:
        self._masked = masked
        self._pieces: list[str] = []
        self._link: tuple[str, int] | None = None

    def written(self) -> str:
        return "".join(self._pieces)

    def say(self, text: str) -> None:
        """Text between two tags."""
        done = 0
        for mark in MARK.finditer(text):
            self._plain(text[done : mark.start()])
            done = mark.end()
            if not self._masked.tag(mark).startswith("{#"):
                self._pieces.append(mark[0])
        self._plain(text[done:])

    def keep_statements(self, text: str) -> None:
        """Of a text that is not shown: what it sets, and what ends elsewhere."""
        for mark in MARK.finditer(text):
            if self._masked.tag(mark).startswith("{%"):
                self._pieces.append(mark[0])

    def meet(self, tag: Tag) -> None:
        """A tag, as what it looks like in plain text."""
        if tag.name == "a":
            if tag.closes:
                self._leads_to()
            else:
                self._link = (tag.attribute("href") or "", len(self._pieces))
        elif tag.name == "img":
            self.say(tag.attribute("alt") or "")
        elif tag.name in _AROUND:
            self._pieces.append(_AROUND[tag.name])
            if tag.name == "li" and not tag.closes:
                self._pieces.append(_ITEM)

    def _plain(self, text: str) -> None:
        if text:
            blank = re.sub(r"\s+", " ", html.unescape(text))
            self._pieces.append(_SYNTAX.sub("{{ '{' }}", blank))

    def _leads_to(self) -> None:
        """Where a link leads, unless that is what it says."""
        href, at = self._link or ("", 0)
        self._link = None
        said = "".join(self._pieces[at:]).strip()
        if not href.startswith(_WEB) or self._masked.source(said) == self._masked.source(href):
            return
        self._pieces.append(f" ({href})" if said else href)
