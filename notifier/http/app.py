"""The API's application: routes, problems and the gate in front of them."""

import os
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.middleware import Middleware

from notifier.channels import registry
from notifier.http import (
    attachments,
    callbacks,
    connections,
    events,
    health,
    magic_links,
    pauses,
    problems,
    recipients,
    sandbox,
    suppressions,
    templates,
    unsubscribe,
)
from notifier.http.bodies.events import EventBatchIn, EventIn
from notifier.http.gate import Gate


def make_app() -> FastAPI:
    """The ASGI application; it connects to Postgres when the first request needs it."""
    app = FastAPI(
        title="Notifier",
        version="1",
        # The pages FastAPI would serve load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
        strict_content_type=False,
        redirect_slashes=False,
        middleware=[Middleware(Gate)],
    )
    # A wrong setting of a provider stops the start, not its first call back; nor does the API
    # run beside workers that refuse to.
    registry.named_by(os.environ)
    app.state.providers = registry.configured(os.environ)
    problems.install(app)
    for router in (
        events.router,
        attachments.router,
        recipients.router,
        pauses.router,
        suppressions.router,
        templates.router,
        sandbox.router,
        connections.router,
        connections.pages,
        callbacks.router,
        unsubscribe.router,
        magic_links.router,
        health.router,
    ):
        app.include_router(router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign] # FastAPI's documented way
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: every route, its key, and problems as the only kind of error."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    _, written = models_json_schema(
        [
            (EventIn, "validation"),
            (EventBatchIn, "validation"),
            (problems.Problem, "serialization"),
        ],
        ref_template="#/components/schemas/{model}",
    )
    parts = document["components"]
    parts["schemas"].update(written["$defs"])
    for unused in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(unused, None)
    parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    error = {
        "description": "A problem (RFC 9457)",
        "content": {
            problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}},
        },
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            if path.startswith("/v1/"):
                operation["security"] = [{"key": []}]
                operation["responses"]["default"] = error
    app.openapi_schema = document
    return document
