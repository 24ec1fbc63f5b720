"""The HTML of a template's source, read around what Jinja will fill in.

An HTML parser would move and mend what stands between Jinja's tags. So those are masked, each by a
mark that is a word in text, in an attribute and in CSS alike, and the rest is read as it stands.
"""

import html
import re
from collections.abc import Iterator

# No possessive quantifiers: before 3.11.5 Python matches those around alternatives wrongly
# (https://github.com/python/cpython/issues/106052). Each alternative begins with characters of its
# own, so there is one way to match and little to go back over.
_JINJA = re.compile(
    r"""\{\{(?:[^"'}]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\}(?!\}))*\}\}|\{%.*?%\}|\{\#.*?\#\}""",
    re.DOTALL,
)
MARK = re.compile("\ue000(\\d+)\ue001")
"""In characters of private use, which the sources of mails do not hold."""

_TAG = re.compile(r"""<(/?)([a-zA-Z][^\s/<>"']*)((?:[^<>"']|"[^"]*"|'[^']*')*)>""")
_ATTRIBUTE = re.compile(r"""([^\s=/"'>]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+))?""")
_RAW = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in ("style", "script", "textarea", "title")
}
"""Elements whose content is no markup, and where each ends."""


class Masked:
    """A source whose Jinja tags are marks. text: what is left to read."""

    def __init__(self, source: str) -> None:
        self._tags: list[str] = []
        self.text = _JINJA.sub(self._mask, MARK.sub("", source))

    def _mask(self, found: re.Match[str]) -> str:
        self._tags.append(found[0])
        return f"\ue000{len(self._tags) - 1}\ue001"

    def source(self, text: str) -> str:
        """`text` with its marks as the source had them."""
        return MARK.sub(lambda mark: self.tag(mark), text)

    def tag(self, mark: re.Match[str]) -> str:
        """The Jinja tag that a mark stands for."""
        return self._tags[int(mark[1])]

    def has_statement(self, text: str) -> bool:
        """Whether something in `text` may be there or not, or more than once."""
        return any(self.tag(mark).startswith("{%") for mark in MARK.finditer(text))


class Tag:
    """An element's start or end, at `start` to `end` of the text. name: in lower case."""

    def __init__(self, found: re.Match[str]) -> None:
        self.start, self.end = found.span()
        self.closes = bool(found[1])
        self.name = found[2].lower()
        self.inside = found.span(3)
        self._found = found

    def attribute(self, name: str) -> str | None:
        """Its value, without quotes and entities; None where it has none."""
        span = self.attribute_span(name)
        if span is None:
            return None
        value = self._found.string[slice(*span)].partition("=")[2].strip()
        return html.unescape(value[1:-1] if value[0] in "\"'" else value)

    def attribute_span(self, name: str) -> tuple[int, int] | None:
        """Where it stands with its value; None where it has none."""
        for each in _ATTRIBUTE.finditer(self._found.string, *self.inside):
            if each[1].lower() == name and each[2] is not None:
                return each.span()
        return None


def read(text: str) -> Iterator[Tag | str]:
    """The tags of `text` and what stands between them, comments and raw content left out."""
    begins = at = 0
    while (found := text.find("<", at)) >= 0:
        if text.startswith(("<!", "<?"), found):
            closing = "-->" if text.startswith("<!--", found) else ">"
            end = text.find(closing, found)
            yield text[begins:found]
            begins = at = len(text) if end < 0 else end + len(closing)
            continue
        matched = _TAG.match(text, found)
        if matched is None:
            at = found + 1
            continue
        tag = Tag(matched)
        yield text[begins:found]
        yield tag
        begins = at = tag.end if tag.closes else tag.end + len(content(text, tag))
    yield text[begins:]


def content(text: str, tag: Tag) -> str:
    """What an element holds whose content is no markup; empty for any other."""
    ends = _RAW.get(tag.name)
    if ends is None:
        return ""
    found = ends.search(text, tag.end)
    return text[tag.end : found.start() if found else len(text)]
