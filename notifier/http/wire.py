"""JSON and cursors, in and out: strict about what comes in, and read once."""

import base64
import json
import re
import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from notifier.http.problems import Fault

Place = TypeVar("Place")

_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
"""Escapes that may spell a NUL or half of a surrogate pair, which Postgres can not hold."""
_UNHOLDABLE = re.compile("[\0\ud800-\udfff]")


class JsonRequest(Request):
    """A request whose body is read by `read_json`."""

    async def json(self) -> Any:
        return read_json(await self.body())


class JsonRoute(APIRoute):
    """A route whose body is read by `read_json`, so that every route refuses the same."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json


def read_json(raw: bytes) -> Any:
    """The value of a JSON body; raises `Fault` for what is not JSON or can not be stored."""
    try:
        value = json.loads(raw.decode(), parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError:
        raise _malformed("JSON in UTF-8") from None
    except RecursionError:
        raise _malformed("JSON that is nested less deeply") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"valid JSON ({error.msg} at character {error.pos})") from None
    except ValueError as error:
        raise _malformed(str(error)) from None
    if _SUSPECT.search(raw):
        _refuse_unholdable(value, "")
    return value


def answer(content: Any, status: int = 200) -> Response:
    """A JSON response; times in UTC."""
    return Response(
        json.dumps(content, default=_plain, ensure_ascii=False, separators=(",", ":")).encode(),
        status,
        media_type="application/json",
    )


def to_cursor(place: bytes) -> str:
    """Where a page ended, as text for a URL that tells its reader nothing."""
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


def read_cursor(cursor: str, parse: Callable[[bytes], Place]) -> Place:
    """What `to_cursor` was given; `parse` raises `ValueError` for what it never was."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return parse(base64.b64decode(padded, altchars=b"-_", validate=True))
    except ValueError:
        expected = "the next_cursor of a page"
        raise Fault(
            422,
            "invalid_request",
            f"cursor: expected {expected}",
            field="cursor",
            expected=expected,
        ) from None


def _malformed(expected: str) -> Fault:
    return Fault(
        400, "malformed_json", f"body: expected {expected}", field="body", expected=expected
    )


def _no_constant(_name: str) -> Any:
    raise ValueError("JSON, which has no NaN and no infinities")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("numbers that a double can hold")
    return value


def _refuse_unholdable(value: Any, place: str) -> None:
    match value:
        case str() if _UNHOLDABLE.search(value):
            field, expected = place.lstrip(".") or "body", "text without NUL or lone surrogates"
            raise Fault(
                422,
                "invalid_value",
                f"{field}: expected {expected}",
                field=field,
                expected=expected,
            )
        case dict():
            for key, inner in value.items():
                _refuse_unholdable(key, place)
                _refuse_unholdable(inner, f"{place}.{key}")
        case list():
            for n, inner in enumerate(value):
                _refuse_unholdable(inner, f"{place}[{n}]")


def _plain(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} is not JSON")
