"""Where providers call back: `/webhooks/<provider>`."""

from collections.abc import Mapping

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from notifier import callbacks, poke
from notifier.channels.contract import Call, Forged, Misunderstood, NotNow, Provider
from notifier.http.problems import Fault
from notifier.log import logger
from notifier.settings import settings
from notifier.store.engine import connect

router = APIRouter(tags=["callbacks"], include_in_schema=False)

log = logger("http.callbacks")


@router.api_route("/webhooks/{provider}", methods=["GET", "POST"])
async def hear(provider: str, request: Request) -> Response:
    """Keep what the provider says; answered once that is committed.

    What is not signed by the provider is refused. What is, but makes no sense to us, is logged and
    answered as the rest, or its vendor would send it for days.
    """
    configured: Mapping[str, Provider] = request.app.state.providers
    known = configured.get(provider)
    if known is None:
        raise Fault(404, "not_found", "no provider of this name calls back here")
    query = f"?{request.url.query}" if request.url.query else ""
    call = Call(
        request.method,
        f"{settings().public_url}{request.url.path}{query}",
        dict(request.headers),
        await request.body(),
    )
    return await run_in_threadpool(_keep, known, call)


def _keep(provider: Provider, call: Call) -> Response:
    try:
        heard = provider.hear(call)
    except Forged as fault:
        log.warning("forged", provider=provider.name, why=str(fault))
        raise Fault(403, "forged", f"{provider.name}: {fault}") from None
    except NotNow as fault:
        log.warning("not_now", provider=provider.name, why=str(fault))
        raise Fault(503, "not_now", f"{provider.name}: {fault}") from None
    except Misunderstood as fault:
        log.error("misunderstood", provider=provider.name, why=str(fault), bytes=len(call.body))
        return Response(status_code=204)
    if heard.facts:
        with connect() as connection, connection.begin():
            callbacks.keep(connection, provider.name, heard.facts)
        poke.poke()
    status = heard.status or (200 if heard.answer else 204)
    return Response(heard.answer, status, media_type=heard.media_type)
