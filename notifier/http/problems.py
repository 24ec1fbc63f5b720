"""Every error of the API as problem+json (RFC 9457), whatever raised it."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from notifier.errors import Refused
from notifier.http.expected import at

MEDIA_TYPE = "application/problem+json"

_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
}
"""The codes of errors that only the web framework raises."""

_TITLES = {
    "invalid_request": "The request is not of the documented form",
    **{
        kind.code: (kind.__doc__ or kind.code).partition("\n")[0].rstrip(".")
        for kind in Refused.__subclasses__()
    },
}
"""One for each code, whatever raised it; of the others the words of their status."""


class Problem(BaseModel):
    """What went wrong. `code` is stable; `field` and `expected` are there where one is at fault."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    expected: str | None = None


class Fault(HTTPException):
    """A request that can not be served, for a reason that lies in HTTP itself."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        expected: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.content = shape(status, code, detail, field, expected)


def shape(
    status: int, code: str, detail: str, field: str | None, expected: str | None
) -> dict[str, Any]:
    """The document of one problem."""
    content: dict[str, Any] = {
        "type": f"urn:notifier:problem:{code}",
        "title": _TITLES.get(code) or _phrase(status),
        "status": status,
        "detail": detail,
        "code": code,
    }
    if field is not None:
        content["field"] = field
    if expected is not None:
        content["expected"] = expected
    return content


def of(refused: Refused) -> dict[str, Any]:
    """The document of an input that was refused."""
    return shape(refused.status, refused.code, str(refused), refused.field, refused.expected)


def answer(content: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        json.dumps(content), content["status"], dict(headers or {}), media_type=MEDIA_TYPE
    )


def install(app: FastAPI) -> None:
    """Answer with a problem to whatever a route raises; the gate answers to the rest."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(Fault, _fault)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(DataError, _data)


def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return answer(of(error))


def _fault(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Fault)
    return answer(error.content, error.headers)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = path(first["loc"][1:]) or "body"
    match first["type"]:
        case "missing":
            expected = "a value: it is required"
        case "extra_forbidden":
            expected = "no field of this name"
        case _:
            document = request.app.openapi()
            # Routes that are not the public's are not in it.
            route = document["paths"].get(request.scope["route"].path_format, {})
            said = at(document, route.get(request.method.lower(), {}), first["loc"])
            expected = said or str(first["msg"]).removeprefix("Input should be ")
    detail = f"{field}: expected {expected}"
    return answer(shape(422, "invalid_request", detail, field, expected))


def _framework(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    code = _CODES.get(status, _phrase(status).lower().replace(" ", "_"))
    detail = "nothing is served at this address" if status == 404 else str(error.detail)
    return answer(shape(status, code, detail, None, None), error.headers)


def _data(_request: Request, _error: Exception) -> Response:
    return answer(not_storable())


def not_storable() -> dict[str, Any]:
    """The problem with a value the database refused; its own words quote the value."""
    detail = "a value is outside of what the database can hold"
    return shape(422, "invalid_value", detail, "body", "values it can hold")


def path(places: tuple[int | str, ...] | list[int | str]) -> str:
    """`contact_points[0].channel` from the parts of a place."""
    text = ""
    for place in places:
        text += f"[{place}]" if isinstance(place, int) else f".{place}"
    return text.lstrip(".")


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase
