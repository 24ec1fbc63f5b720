"""Compiling a template version, rendering it for a delivery, and explaining what went wrong."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import TemplateSyntaxError, UndefinedError

from notifier.errors import NotifierError
from notifier.rendering import styles
from notifier.rendering.filters import NotAllowed
from notifier.rendering.language import (
    DEADLINE,
    GLOBALS,
    Budget,
    Language,
    Scope,
    parse,
    with_limits,
)
from notifier.rendering.plain import text_of, tidied

MAX_OUTPUT = 256 * 1024
"""Characters of a rendered part."""
MAX_LINE = 998
"""Characters of a subject or a title: RFC 5322, section 2.1.1."""
MAX_URL = 2048
"""Characters of an address: those of a payload have 2,000, and a template may add to one."""
_ONE_LINE = {
    "subject": MAX_LINE,
    "title": MAX_LINE,
    "url": MAX_URL,
    "collapse_key": MAX_LINE,
    "badge": MAX_LINE,
}
"""The parts of one line, and their longest."""

_PLAIN = Language(autoescape=False)
_HTML = Language(autoescape=True)
_MADE = Language(autoescape=False, trims=False)
"""Of texts that are made of HTML."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class RenderError(NotifierError):
    """A template can not be compiled, or not be rendered with this payload.

    The message names the part, the line and what is wrong, and never a value of the
    payload: it goes to logs and to the journal.
    """

    def __init__(self, part: str, line: int | None, problem: str) -> None:
        super().__init__(f"{part}, line {line}: {problem}" if line else f"{part}: {problem}")
        self.part = part
        self.line = line
        self.problem = problem


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    language: Language
    root: Callable[[Scope], Iterator[str]]
    one_line: bool
    limit: int
    made: bool
    """Whether it is a text that was made of HTML."""
    paths: tuple[tuple[int, str], ...]
    """Every variable the source writes, with its line; what an error may name."""


class Template:
    """The compiled parts of one template version. Safe to share between threads."""

    __slots__ = ("_parts",)

    def __init__(self, parts: tuple[_Part, ...]) -> None:
        self._parts = parts

    def render(self, context: Mapping[str, Any]) -> dict[str, str]:
        """The parts' texts.

        context: plain data (what JSON can hold); the payload's keys and the `RESERVED` ones.
        `subject`, `title`, `url`, `collapse_key` and `badge` come as one line, every run of white
        space one blank.
        Raises RenderError.
        """
        values = {**GLOBALS, **context}
        budget = Budget()
        rendered = {}
        for part in self._parts:
            try:
                rendered[part.name] = _render(part, values, budget)
                continue
            except Exception as error:
                failure = _explain(part, error)
            # Out of the handler, so that no chained traceback carries the payload along.
            raise failure
        return rendered


def _render(part: _Part, values: dict[str, Any], budget: Budget) -> str:
    scope = Scope(part.language, values, part.name, {})
    scope.budget = budget
    chunks: list[str] = []
    left = part.limit
    for chunk in part.root(scope):
        left -= len(chunk)
        if left < 0:
            raise NotAllowed(f"the text is longer than {part.limit} characters")
        chunks.append(chunk)
        if not len(chunks) & 63 and perf_counter() > budget.deadline:
            raise NotAllowed(f"took more than {DEADLINE} s")
    text = "".join(chunks)
    if part.made:
        text = tidied(text)
    if part.one_line:
        if not text.isprintable():
            text = _CONTROLS.sub(" ", text)
        return " ".join(text.split())
    return text.strip()


def compile_template(parts: Mapping[str, str]) -> Template:
    """The template of these sources by part name. Costs milliseconds: keep it per version.

    Style sheets of `html` are put into its elements. Where there is `html` and no `text`, a text is
    made of it. Raises RenderError for the first part that is not valid.
    """
    compiled = []
    for name, source in parts.items():
        try:
            language = _HTML if name == "html" else _PLAIN
            compiled.append(_compile(name, source, language))
            if name == "html" and "text" not in parts:
                compiled.append(_made_text(source))
            continue
        except TemplateSyntaxError as error:
            failure = RenderError(name, error.lineno, error.message or "is not valid")
        except NotAllowed as error:
            failure = RenderError(name, None, str(error))
        except Exception as error:
            # Nested too deep for the parser or for Python's compiler.
            failure = RenderError(name, None, f"can not be compiled ({type(error).__name__})")
        raise failure
    return Template(tuple(compiled))


def _made_text(source: str) -> _Part:
    try:
        return _compile("text", text_of(source), _MADE)
    except TemplateSyntaxError as fault:
        raise NotAllowed("no text can be made of it; give the template a text") from fault


def _compile(name: str, source: str, language: Language) -> _Part:
    tree = parse(language, source, name)
    paths = tuple(_paths(tree))
    if name == "html":
        styled = styles.inlined(source)
        if styled != source:
            tree = parse(language, styled, name, styles.MAX_SOURCE)
    code = language.compile(with_limits(language, tree), name)
    template = jinja2.Template.from_code(language, code, {})
    return _Part(
        name=name,
        language=language,
        root=template.root_render_func,
        one_line=name in _ONE_LINE,
        limit=_ONE_LINE.get(name, MAX_OUTPUT),
        made=language is _MADE,
        paths=paths,
    )


def _paths(tree: nodes.Template) -> Iterator[tuple[int, str]]:
    for node in tree.find_all((nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const)):
        path = _path(node)
        if path:
            yield node.lineno, path


def _path(node: nodes.Node) -> str | None:
    """`task.due_at` as the source writes it; a text constant may name a field for `map`."""
    match node:
        case nodes.Name(name=name):
            return name
        case nodes.Const(value=str() as value):
            return value
        case nodes.Getattr(node=owner, attr=field):
            return f"{_path(owner) or '…'}.{field}"
        case nodes.Getitem(node=owner, arg=nodes.Const(value=str() as field)):
            return f"{_path(owner) or '…'}.{field}"
    return None


def _explain(part: _Part, error: Exception) -> RenderError:
    line = _line(error.__traceback__)
    match error:
        case UndefinedError():
            return RenderError(part.name, line, f"{_missing(part, line, str(error))} is missing")
        case NotAllowed():
            return RenderError(part.name, line, str(error))
        case _:
            # Other messages may quote values: int('bob@example.com').
            return RenderError(part.name, line, f"a value does not fit ({type(error).__name__})")


def _missing(part: _Part, line: int | None, name: str) -> str:
    """The path the source writes for a missing name; a name it does not write is data."""
    found = [(at, path) for at, path in part.paths if path == name or path.split(".")[-1] == name]
    for at, path in found:
        if at == line:
            return path
    return found[0][1] if found else "a computed name"


def _line(traceback: TracebackType | None) -> int | None:
    line = None
    while traceback is not None:
        template = traceback.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            line = template.get_corresponding_lineno(traceback.tb_lineno)
        traceback = traceback.tb_next
    return line
