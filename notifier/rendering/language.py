"""The language templates are written in: the part of Jinja that can neither escape nor hang.

Templates are edited by tenants, and rendered in the process that sends. So beside Jinja's
immutable sandbox, which keeps templates from Python's insides, this is a closed list of
what may be written: no calls but `range()` and `loop.cycle()`, no macros (recursion), no
buffered blocks (output no limit sees), no attributes but the fields of plain data. What
can still take long are loops, so each turn of a loop is counted and looks at the clock.
"""

from collections.abc import Iterable, Iterator, Mapping
from time import perf_counter
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes, pass_context
from jinja2.exceptions import TemplateSyntaxError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notifier.rendering.filters import (
    FILTERS,
    MAX_VALUE,
    TESTS,
    NotAllowed,
    bounded_range,
    joined,
    printable,
)

MAX_SOURCE = 128 * 1024
"""Characters of a part's source."""
MAX_TAGS = 1_000
"""`{{ … }}` and `{% … %}` of a part: counted first, as parsing them takes the longest."""
MAX_NODES = 3_000
"""Expressions and statements of a part; with `MAX_VALUE` it bounds what runs between clocks."""
MAX_STEPS = 20_000
"""Turns of all loops of one rendering."""
DEADLINE = 0.25
"""Seconds one rendering may take; an ordinary one takes some millionths."""
GLOBALS: Mapping[str, Any] = {"range": bounded_range}

_LOOP_FIELDS = frozenset(
    [
        "cycle",
        "depth",
        "depth0",
        "first",
        "index",
        "index0",
        "last",
        "length",
        "nextitem",
        "previtem",
        "revindex",
        "revindex0",
    ]
)
_NUMBERS = (int, float)
_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Add,
    nodes.And,
    nodes.Assign,
    nodes.Call,
    nodes.Compare,
    nodes.Concat,
    nodes.CondExpr,
    nodes.Const,
    nodes.Dict,
    nodes.Div,
    nodes.Filter,
    nodes.FloorDiv,
    nodes.For,
    nodes.Getattr,
    nodes.Getitem,
    nodes.If,
    nodes.Keyword,
    nodes.List,
    nodes.Mod,
    nodes.Mul,
    nodes.Name,
    nodes.Neg,
    nodes.Not,
    nodes.Operand,
    nodes.Or,
    nodes.Output,
    nodes.Pair,
    nodes.Pos,
    nodes.Slice,
    nodes.Sub,
    nodes.Template,
    nodes.TemplateData,
    nodes.Test,
    nodes.Tuple,
)


class Budget:
    """What one rendering may still spend on loops, over all of its parts."""

    __slots__ = ("deadline", "steps")

    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.deadline = perf_counter() + DEADLINE

    def spend(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise NotAllowed(f"ran loops for more than {MAX_STEPS} turns")
        if perf_counter() > self.deadline:
            raise NotAllowed(f"took more than {DEADLINE} s")


class Scope(Context):
    """Jinja's context of one part, with the budget of the whole rendering."""

    budget: Budget


class Missing(StrictUndefined):
    """A name the payload does not have.

    Its message is the bare name: Jinja's would describe the object, and where the name was
    computed (`prices[user.email]`) it is personal data, which only the caller can tell.
    """

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        return str(self._undefined_name)


class Language(ImmutableSandboxedEnvironment):
    """The sandbox. Fields of mappings and items of lists are all there is to reach.

    Looking into the mapping first is also what an author means by `order.items`, and twice
    as fast as Jinja's way, an AttributeError for each field.
    """

    context_class = Scope
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self, *, autoescape: bool, trims: bool = True) -> None:
        """trims: whether a line that holds a statement and nothing else leaves no line behind."""
        super().__init__(
            autoescape=autoescape,
            undefined=Missing,
            finalize=printable,
            trim_blocks=trims,
            lstrip_blocks=trims,
        )
        self.globals = dict(GLOBALS)
        self.filters = {**FILTERS, "joined": joined, "counted": counted}
        self.tests = dict(TESTS)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, dict):
            try:
                return obj[attribute]
            except KeyError:
                return Missing(obj=obj, name=attribute)
        if isinstance(obj, LoopContext) and attribute in _LOOP_FIELDS:
            return getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Undefined):
            str(obj)  # raises, naming what was missing first
        if isinstance(obj, dict | list | tuple | str):
            try:
                return obj[argument]
            except (KeyError, IndexError, TypeError):
                pass
        return Missing(obj=obj, name=argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic on numbers of ordinary size, and `+` on texts.

        `'x' * 10**9`, `'%999999999d' % 1` and `9**9**9` are memory and time for free.
        """
        if isinstance(left, Undefined) or isinstance(right, Undefined):
            str(left), str(right)
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            if len(left) + len(right) > MAX_VALUE:
                raise NotAllowed(f"made a text of more than {MAX_VALUE} characters")
            return left + right
        if operator == "**" or not isinstance(left, _NUMBERS) or not isinstance(right, _NUMBERS):
            raise NotAllowed(f"used {operator} on something other than two numbers")
        if abs(left) > 2**64 or abs(right) > 2**64:
            raise NotAllowed(f"used {operator} on a number beyond 64 bits")
        return super().call_binop(context, operator, left, right)


@pass_context
def counted(context: Scope, items: Iterable[Any]) -> Iterator[Any]:
    """The items, each turn paid for; every `for` is rewritten to run over this."""
    budget = context.budget
    for item in items:
        budget.spend()
        yield item


def parse(language: Language, source: str, part: str, longest: int = MAX_SOURCE) -> nodes.Template:
    """The syntax tree of a part, refused where it leaves the language."""
    if len(source) > longest:
        raise NotAllowed(f"is longer than {longest} characters")
    if source.count("{{") + source.count("{%") > MAX_TAGS:
        raise NotAllowed(f"holds more than {MAX_TAGS} tags")
    tree = language.parse(source, part)
    for count, node in enumerate(tree.find_all(nodes.Node)):
        if count > MAX_NODES:
            raise NotAllowed(f"holds more than {MAX_NODES} expressions")
        fault = _fault(node)
        if fault:
            raise TemplateSyntaxError(fault, node.lineno, part)
    return tree


def _fault(node: nodes.Node) -> str | None:
    match node:
        case nodes.Filter(name=name) if name not in FILTERS:
            return f"there is no filter {name}"
        case nodes.Test(name=name) if name not in TESTS:
            return f"there is no test {name}"
        case nodes.Name(name="self" | "super" | "caller" as name):
            return f"{name} is not part of the template language"
        case nodes.Getattr(attr=attr) if attr.startswith("_"):
            return "names that start with _ are not allowed"
        case nodes.Call(node=called, dyn_args=None, dyn_kwargs=None):
            if not _may_call(called):
                return "functions and methods can not be called; use a filter"
        case (
            nodes.Filter(dyn_args=None, dyn_kwargs=None)
            | nodes.Test(dyn_args=None, dyn_kwargs=None)
        ):
            return None
        case nodes.Call() | nodes.Filter() | nodes.Test():
            return "* and ** arguments are not allowed"
        case nodes.For(recursive=True):
            return "recursive loops are not allowed"
        case nodes.List(items=items) | nodes.Tuple(items=items, ctx="load"):
            # Lists of lists of lists print and compare in exponential time.
            if not all(isinstance(item, nodes.Const) for item in items):
                return "a list written in a template holds constants only"
        case nodes.Pair(value=value) if not isinstance(value, nodes.Const):
            return "an object written in a template holds constants only"
    if not isinstance(node, _ALLOWED):
        return f"{type(node).__name__} is not part of the template language"
    return None


def _may_call(called: nodes.Node) -> bool:
    match called:
        case nodes.Name(name="range"):
            return True
        case nodes.Getattr(node=nodes.Name(name="loop"), attr="cycle"):
            return True
    return False


def with_limits(language: Language, tree: nodes.Template) -> nodes.Template:
    """The tree with its loops counted and its `~` measured; changes `tree`."""
    for loop in list(tree.find_all(nodes.For)):
        loop.iter = nodes.Filter(loop.iter, "counted", [], [], None, None, lineno=loop.lineno)
    _measure(tree)
    tree.set_environment(language)  # the new nodes lack theirs
    return tree


def _measure(parent: nodes.Node) -> None:
    for field, value in parent.iter_fields():
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if not isinstance(child, nodes.Node):
                continue
            _measure(child)
            if isinstance(child, nodes.Concat):
                pieces = nodes.List(child.nodes, lineno=child.lineno)
                new = nodes.Filter(pieces, "joined", [], [], None, None, lineno=child.lineno)
                if isinstance(value, list):
                    value[index] = new
                else:
                    setattr(parent, field, new)
