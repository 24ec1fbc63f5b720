"""What a template may do to a value: the closed lists of filters, tests and functions.

Jinja's own filters were written for trusted authors: several can make gigabytes of one
short expression. Those that can are absent or written again here with a limit.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from jinja2 import pass_context, pass_eval_context
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, Undefined, markup_join, str_join
from jinja2.tests import TESTS as JINJA_TESTS

MAX_VALUE = 256 * 1024
"""Characters of the longest text an expression may make."""
MAX_RANGE = 1_000


class NotAllowed(Exception):
    """What a template tried and may not; the text holds no value of the payload."""


@pass_eval_context
def joined(eval_ctx: EvalContext, pieces: Iterable[Any]) -> str:
    """The pieces as one text; its length is known before the memory is taken."""
    kept, size = [], 0
    for piece in pieces:
        kept.append(printable(piece))
        size += len(piece) if isinstance(piece, str) else 32
        if size > MAX_VALUE:
            raise NotAllowed(f"made a text of more than {MAX_VALUE} characters")
    return (markup_join if eval_ctx.autoescape else str_join)(kept)


@pass_eval_context
def join(eval_ctx: EvalContext, values: Iterable[Any], separator: str = "") -> str:
    """`{{ names | join(', ') }}`"""

    def pieces() -> Iterable[Any]:
        for index, value in enumerate(values):
            if index:
                yield separator
            yield value

    return joined(eval_ctx, pieces())


def replace(text: str, old: str, new: str) -> str:
    """Every `old` by `new`."""
    text = str(text)
    if len(text) + text.count(old) * len(new) > MAX_VALUE:
        raise NotAllowed(f"made a text of more than {MAX_VALUE} characters")
    return text.replace(old, new)


@pass_eval_context
def tojson(eval_ctx: EvalContext, value: Any) -> str:
    """The value as JSON. Limited, because JSON of JSON of JSON doubles at each step."""
    text: str = JINJA_FILTERS["tojson"](eval_ctx, value)
    if len(text) > MAX_VALUE:
        raise NotAllowed(f"made a text of more than {MAX_VALUE} characters")
    return text


def round_number(value: float, precision: int = 0) -> float:
    """Halves go to the even neighbour, as in Python."""
    if not -9 <= precision <= 9:
        raise NotAllowed("rounded to more than 9 places")
    return round(value, precision)


def number(value: float) -> str:
    """`12,345`, and `1,234.5` for numbers that are not whole."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,}"


def link(value: str) -> str:
    """A web, mail or telephone address, refused if it is anything else.

    Payloads come from users too: `javascript:` behind a button is script injection that
    escaping does not stop.
    """
    if urlsplit(value).scheme.lower() not in ("https", "http", "mailto", "tel"):
        raise NotAllowed("expected a link starting with https://, http://, mailto: or tel:")
    return value


_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
# ISO 4217, currencies whose minor unit is not a hundredth.
_PLACES = {"JPY": 0, "KRW": 0, "CLP": 0, "VND": 0, "ISK": 0, "KWD": 3, "BHD": 3, "TND": 3}


def money(amount: str | float | Decimal, currency: str) -> str:
    """`{{ '1249.5' | money('EUR') }}` is `€1,249.50`; a currency without a sign follows.

    amount: major units, as a decimal text or a number.
    currency: ISO 4217.
    """
    try:
        value = Decimal(str(amount))
    except InvalidOperation:
        raise NotAllowed("money: expected a decimal amount") from None
    if not value.is_finite() or value.adjusted() > 15 or value.adjusted() < -15:
        raise NotAllowed("money: expected a decimal amount")
    sign, currency = "-" if value < 0 else "", str(currency).upper()
    digits = f"{abs(value):,.{_PLACES.get(currency, 2)}f}"
    symbol = _SYMBOLS.get(currency)
    return f"{sign}{symbol}{digits}" if symbol else f"{sign}{digits} {currency}"


# How dates, and times, are written. Month names are English; a template in another language
# brings its own pattern, and until it does gets the one form that is read alike everywhere.
_STYLES = {
    "en-us": ("%a, %b %-d, %Y", "%-I:%M %p %Z"),
    "en": ("%a %-d %b %Y", "%H:%M %Z"),
    "": ("%Y-%m-%d", "%H:%M %Z"),
}
# glibc's strftime takes a width, `%999999999d`: only plain directives pass.
_PATTERN = re.compile(r"(?:[^%]|%-?[aAbBdeHIjmMpSyYZ%]){1,64}")


@lru_cache(maxsize=1024)
def _zone(name: str | None) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, ValueError, OSError):
        return UTC


@lru_cache(maxsize=64)
def _style(locale: str | None) -> tuple[str, str]:
    tag = (locale or "en").replace("_", "-").lower()
    return _STYLES.get(tag) or _STYLES.get(tag.partition("-")[0]) or _STYLES[""]


@lru_cache(maxsize=256)
def _plain(pattern: str) -> str:
    if not _PATTERN.fullmatch(pattern):
        raise NotAllowed("expected a date pattern of plain strftime directives")
    return pattern


def _moment(context: Context, value: Any) -> tuple[date, tuple[str, str]]:
    """The value in the recipient's time zone; a date without a time stays that date."""
    recipient = context.get("recipient")
    known = recipient if isinstance(recipient, Mapping) else {}
    style = _style(known.get("locale"))
    try:
        if len(value) == 10:
            return date.fromisoformat(value), style
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(_zone(known.get("timezone"))), style
    except (TypeError, ValueError, OverflowError):
        raise NotAllowed("expected a date or time in ISO 8601") from None


@pass_context
def as_date(context: Context, value: Any, pattern: str | None = None) -> str:
    """`{{ task.due_at | date }}` is `Mon 3 Jun 2024` where the recipient lives."""
    moment, style = _moment(context, value)
    return moment.strftime(_plain(pattern) if pattern else style[0])


@pass_context
def as_time(context: Context, value: Any, pattern: str | None = None) -> str:
    """`14:30 JST`; with the zone, as a phone and its owner may be travelling."""
    moment, style = _moment(context, value)
    if not isinstance(moment, datetime):
        raise NotAllowed("time: expected a date with a time")
    return moment.strftime(_plain(pattern) if pattern else style[1])


@pass_context
def as_datetime(context: Context, value: Any, pattern: str | None = None) -> str:
    """`Mon 3 Jun 2024, 14:30 JST`."""
    moment, (day, clock) = _moment(context, value)
    if not isinstance(moment, datetime):
        return moment.strftime(day)
    return moment.strftime(_plain(pattern) if pattern else f"{day}, {clock}")


def bounded_range(*arguments: int) -> range:
    """Python's range, up to `MAX_RANGE` long."""
    numbers = range(*arguments)
    if len(numbers) > MAX_RANGE:
        raise NotAllowed(f"range: expected at most {MAX_RANGE} numbers")
    return numbers


_PRINTABLE = (str, int, float, Decimal, Undefined)


def printable(value: Any) -> Any:
    """What `{{ value }}` prints: nothing for null, and no Python notation for lists."""
    if value.__class__ is str:
        return value
    if value is None:
        return ""
    if not isinstance(value, _PRINTABLE):
        raise NotAllowed("printed a list or an object; name a field, or use join or tojson")
    return value


_KEPT = [
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "e",
    "escape",
    "first",
    "float",
    "int",
    "items",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
]
_JINJA: Mapping[str, Any] = JINJA_FILTERS
FILTERS: dict[str, Callable[..., Any]] = {name: _JINJA[name] for name in _KEPT} | {
    "date": as_date,
    "datetime": as_datetime,
    "join": join,
    "link": link,
    "money": money,
    "number": number,
    "replace": replace,
    "round": round_number,
    "time": as_time,
    "tojson": tojson,
}
_DANGEROUS_TESTS = ("callable", "escaped", "filter", "sameas", "test")
_JINJA_TESTS: Mapping[str, Any] = JINJA_TESTS
TESTS: dict[str, Callable[..., Any]] = {
    name: test for name, test in _JINJA_TESTS.items() if name not in _DANGEROUS_TESTS
}
