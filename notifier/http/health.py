"""Whether the process lives, and whether it can do its work."""

from contextlib import closing

from fastapi import APIRouter
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from notifier.http.wire import answer
from notifier.settings import settings
from notifier.store.engine import connect
from notifier.store.migrate import installed_version, versions

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Response:
    """The process is alive."""
    return answer({"status": "ok"})


@router.get("/readyz")
def readyz() -> Response:
    """Postgres answers and its schema is not older than this release; Redis is only reported."""
    expected = versions()[-1]
    installed = None
    try:
        with connect() as connection:
            installed = installed_version(connection)
        postgres = "ok"
    except SQLAlchemyError:
        postgres = "unreachable"
    # A newer schema is fine: migrations are safe under the release before them.
    ready = installed is not None and installed >= expected
    return answer(
        {
            "status": "ready" if ready else "not ready",
            "postgres": postgres,
            "schema": {"installed": installed, "expected": expected},
            "redis": _redis(),
        },
        200 if ready else 503,
    )


def _redis() -> str:
    url = settings().redis_url
    if not url:
        return "not set"
    client = Redis.from_url(
        url, socket_timeout=0.5, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 0)
    )
    try:
        with closing(client):
            client.ping()
    except RedisError:
        return "unreachable"
    return "ok"
