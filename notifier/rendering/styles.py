"""Puts the rules of a mail's style sheets into its elements, when its template is compiled.

Mail clients drop style sheets (Gmail beyond a few, many apps wholly), so each element has to carry
its style itself. It is done once a template and not once a mail, of which it would be the dearest
part: the source's own text stays as it is, Jinja and all, and gets `style` attributes.
"""

import html
import re
from collections.abc import Iterator

from notifier.rendering.filters import NotAllowed
from notifier.rendering.markup import Masked, Tag, content, read

MAX_SOURCE = 256 * 1024
"""Characters of a source with its styles in its elements."""
MAX_WORK = 16_000_000
"""Characters of the style sheets times elements: what matching them takes, and may put out."""
LONGEST = 2_000
"""Characters of the selectors of one rule; longer ones stay in the sheet."""

_NUMBER = "data-notifier-element"
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_COMMA = re.compile(r",(?![^(\[]*[)\]])")
"""Between selectors, not inside of one."""
_QUOTED = re.compile(r"""\[[^\]]*\]|"[^"]*"|'[^']*'""")
# What depends on an element's state or place can not be told before there is a mail: how many rows
# a loop will make, say. It stays in the style sheet alone, as do rules for screens (@media).
_DEPENDS = re.compile(r"[:+~]")


def inlined(source: str) -> str:
    """`source` with its style sheets' rules in its elements, which stay in the sheets, too.

    Nothing is fetched. Left alone are rules with a Jinja statement in them, and elements with one
    in their tag. Raises `NotAllowed` where it takes too much.
    """
    if "<style" not in source.lower():
        return source
    masked = Masked(source)
    text = masked.text
    tags = [each for each in read(text) if isinstance(each, Tag) and not each.closes]
    sheets = [content(text, tag) for tag in tags if tag.name == "style" and _is_for_all(tag)]
    rules = "\n".join(rule for sheet in sheets for rule in _rules(masked, sheet))
    elements = [tag for tag in tags if not masked.has_statement(text[slice(*tag.inside)])]
    if not rules or not elements:
        return source
    if len(rules) * len(tags) > MAX_WORK:
        raise NotAllowed("has more styles than can be put into so many elements")
    styles = _styles(text, tags, elements, rules)
    pieces, done = [], 0
    for number, tag in enumerate(elements):
        style = styles.get(number)
        if style is None:
            continue
        # On one line, so that the lines an error names are the author's. What the element says
        # itself comes last, and so wins.
        joined = "; ".join([" ".join(style.rstrip("; ").split()), tag.attribute("style") or ""])
        written = f'style="{html.escape(joined.removesuffix("; "))}"'
        span = tag.attribute_span("style")
        if span is None:
            span, written = (tag.inside[0], tag.inside[0]), f" {written}"
        pieces += [text[done : span[0]], written]
        done = span[1]
    result = masked.source("".join([*pieces, text[done:]]))
    if len(result) > MAX_SOURCE:
        raise NotAllowed(f"is longer than {MAX_SOURCE} characters with its styles in its elements")
    return result


def _is_for_all(sheet: Tag) -> bool:
    return (sheet.attribute("media") or "all").strip().lower() in ("all", "screen")


def _rules(masked: Masked, sheet: str) -> Iterator[str]:
    """The plain rules of a sheet, with those of their selectors that hold wherever they match."""
    sheet = _COMMENT.sub("", sheet).replace("<!--", "").replace("-->", "")
    at = 0
    while (opened := sheet.find("{", at)) >= 0:
        selectors, begins = sheet[at:opened].rpartition(";")[2].strip(), opened + 1
        depth = 1
        at = begins
        while depth and at < len(sheet):
            depth += {"{": 1, "}": -1}.get(sheet[at], 0)
            at += 1
        declarations = sheet[begins : at - 1].strip()
        plain = not selectors.startswith("@") and "{" not in declarations
        if not plain or len(selectors) > LONGEST or masked.has_statement(selectors + declarations):
            continue
        each = _COMMA.split(selectors)
        holding = [one for one in each if not _DEPENDS.search(_QUOTED.sub("", one))]
        if holding and declarations:
            yield f"{','.join(holding)} {{ {declarations} }}"


def _styles(text: str, tags: list[Tag], elements: list[Tag], rules: str) -> dict[int, str]:
    """The style of each of `elements`, by its number, that has one once `rules` are applied."""
    import css_inline

    numbers = {tag.start: number for number, tag in enumerate(elements)}
    pieces, done = [], 0
    for tag in tags:
        pieces.append(text[done : tag.start])
        done = tag.end
        if tag.name == "style":
            done += len(content(text, tag))
        if tag.name in ("style", "link"):
            continue
        number, at = numbers.get(tag.start), tag.inside[0]
        pieces.append(text[tag.start : at])
        if number is not None:
            pieces.append(f' {_NUMBER}="{number}"')
        # Its own style is no CSS yet where Jinja fills it in.
        own = tag.attribute_span("style") or (at, at)
        pieces += [text[at : own[0]], text[own[1] : tag.end]]
    pieces.append(text[done:])
    inliner = css_inline.CSSInliner(
        inline_style_tags=False, load_remote_stylesheets=False, extra_css=rules
    )
    try:
        made = inliner.inline("".join(pieces))
    except ValueError:
        return {}  # what can not be read stays in the sheet, for the client to make sense of
    styles = {}
    for piece in read(made):
        if isinstance(piece, Tag):
            given, style = piece.attribute(_NUMBER), piece.attribute("style")
            if given is not None and style is not None:
                styles[int(given)] = style
    return styles
