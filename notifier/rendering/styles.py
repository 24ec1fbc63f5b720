"""Puts the rules of a mail's style sheets into its elements, when its template is compiled.

Mail clients drop style sheets (Gmail beyond a few, many apps wholly), so each element has to carry
its style itself. It is done once a template and not once a mail, of which it would be the dearest
part: the source's own text stays as it is, Jinja and all, and gets `style` attributes.
"""

import html
import re
from collections.abc import Iterator

from notifier.rendering.filters import NotAllowed
from notifier.rendering.markup import MARK, Masked, Tag, content, read

MAX_SOURCE = 256 * 1024
"""Characters of a source with its styles in its elements."""
MAX_WORK = 16_000_000
"""Characters of the style sheets times elements: what matching them takes, and may put out."""

_NUMBER = "data-notifier-element"
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
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
        style, own = styles.get(number), tag.attribute("style") or ""
        # One whose own is filled in whole (`style="{{ … }}"`) would lose it: it is no CSS yet.
        if style is None or style == own or set(MARK.findall(own)) - set(MARK.findall(style)):
            continue
        # On one line, so that the lines an error names are the author's.
        written = f'"{html.escape(" ".join(style.split()))}"'
        span = tag.value_span("style")
        if span is None:
            span, written = (tag.inside[0], tag.inside[0]), f" style={written}"
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
        if not plain or "(" in selectors or masked.has_statement(selectors + declarations):
            continue
        each = [selectors] if "[" in selectors else selectors.split(",")
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
        number = numbers.get(tag.start)
        at = tag.inside[0]
        pieces.append(text[tag.start : at])
        if number is not None:
            pieces.append(f' {_NUMBER}="{number}"')
        pieces.append(text[at : tag.end])
    pieces.append(text[done:])
    inliner = css_inline.CSSInliner(
        inline_style_tags=False, load_remote_stylesheets=False, extra_css=rules
    )
    try:
        made = inliner.inline("".join(pieces))
    except ValueError as fault:
        raise NotAllowed(f"has a style sheet that can not be read: {fault}") from fault
    styles = {}
    for tag in read(made):
        if isinstance(tag, Tag):
            number, style = tag.attribute(_NUMBER), tag.attribute("style")
            if number is not None and style is not None:
                styles[int(number)] = style
    return styles
