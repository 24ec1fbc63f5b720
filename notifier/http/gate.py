"""What stands before every route: correlation id, API key, size limit, access log, last resort."""

import asyncio
import re
import time
import traceback
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from notifier import log
from notifier.http import problems
from notifier.http.problems import Fault
from notifier.store import keys
from notifier.store.engine import connect
from notifier.store.keys import Caller

LARGEST_BODY = 1 << 20
LARGEST_BATCH = 8 << 20
BODY_SECONDS = 30.0
"""How long a client may take to send a request's body."""
KEY_SECONDS = 5.0
"""How long a key is believed without asking the database again."""

_MOST_KEYS = 10_000
_LARGE = ("/batch", "/attachments")
_CORRELATION = re.compile(r"[\x21-\x7e]{1,200}")
_TOKEN = re.compile(rf"{keys.PREFIX}[A-Za-z0-9_-]{{43}}")

_log = log.logger("http")


@dataclass(slots=True)
class Visit:
    """One request. given: the correlation id came with it, rather than from us."""

    correlation_id: str
    given: bool
    caller: Caller | None = None


def visit_of(request: Request) -> Visit:
    visit: Visit = request.scope["notifier.visit"]
    return visit


def caller_of(request: Request) -> Caller:
    """Whose request this is; the gate lets nobody else reach a route under /v1/."""
    caller = visit_of(request).caller
    if caller is None:
        raise _unauthenticated()
    return caller


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._known: dict[str, tuple[Caller, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-correlation-id", b"").decode("latin-1")
        was_given = _CORRELATION.fullmatch(given) is not None
        visit = Visit(given if was_given else uuid.uuid4().hex, was_given)
        scope["notifier.visit"] = visit
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-correlation-id", visit.correlation_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        with bound_contextvars(correlation_id=visit.correlation_id):
            try:
                if scope["path"].startswith("/v1/"):
                    visit.caller = await self._caller(headers.get(b"authorization", b""))
                limited = _limited(scope["path"], headers, receive)
                await self.app(scope, limited, send_marked)
            except Exception as error:
                fault = _fault(error)
                if fault.status_code >= 500:
                    _report(error)
                if not status:
                    response = problems.answer(fault.content, fault.headers)
                    await response(scope, receive, send_marked)
            _log.info(
                "request",
                method=scope["method"],
                # The route, never the path: a path can hold a token or an address.
                route=getattr(scope.get("route"), "path", None),
                status=status,
                ms=round((time.perf_counter() - started) * 1000, 1),
                tenant=visit.caller and str(visit.caller.tenant_id),
            )

    async def _caller(self, authorization: bytes) -> Caller:
        """Whose key this is; raises the same `Fault` whatever is wrong with it."""
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
            raise _unauthenticated()
        known = self._known.get(token)
        if known is not None and time.monotonic() < known[1]:
            caller = known[0]
        else:
            found = await run_in_threadpool(_look_up, token)
            if found is None:
                self._known.pop(token, None)
                raise _unauthenticated()
            caller = found
            if len(self._known) >= _MOST_KEYS:
                self._known.clear()
            self._known[token] = caller, time.monotonic() + KEY_SECONDS
        if caller.expires_at is not None and caller.expires_at <= datetime.now(UTC):
            raise _unauthenticated()
        return caller


def _look_up(token: str) -> Caller | None:
    with connect() as connection:
        return keys.authenticate(connection, token)


def _unauthenticated() -> Fault:
    return Fault(
        401,
        "unauthenticated",
        "Authorization: expected 'Bearer' and an API key that is neither revoked nor expired",
        field="Authorization",
        expected="Bearer nk_…",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _limited(path: str, headers: dict[bytes, bytes], receive: Receive) -> Receive:
    """`receive` that gives up on a body that is too large or too slow."""
    largest = LARGEST_BATCH if path.endswith(_LARGE) else LARGEST_BODY
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > largest:
        raise _too_large(largest)
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS
    total = 0
    complete = False

    async def receive_limited() -> Message:
        nonlocal total, complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise Fault(
                408, "request_timeout", f"the body took more than {BODY_SECONDS:.0f} s"
            ) from None
        complete = not message.get("more_body", False)
        total += len(message.get("body", b""))
        if total > largest:
            raise _too_large(largest)
        return message

    return receive_limited


def _too_large(largest: int) -> Fault:
    expected = f"at most {largest} bytes"
    return Fault(
        413, "body_too_large", f"body: expected {expected}", field="body", expected=expected
    )


def _fault(error: Exception) -> Fault:
    match error:
        case Fault():
            return error
        case PoolTimeout() | InterfaceError() | OperationalError() | InternalError():
            return Fault(
                503,
                "unavailable",
                "the database can not serve now; with an idempotency key it is safe to try again",
                headers={"Retry-After": "1"},
            )
        case _:
            return Fault(500, "internal_error", "the fault is ours and has been logged")


def _report(error: Exception) -> None:
    """Log our own fault by its place and kind: its text may quote a body."""
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    _log.error(
        "request failed",
        error=type(cause).__name__,
        sqlstate=getattr(cause, "sqlstate", None),
        at=[
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)[-12:]
        ],
    )
