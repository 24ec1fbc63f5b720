"""A tenant's own templates: versions, saved and taken back, and previews."""

import uuid
from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.responses import Response

from notifier import templates
from notifier.http.bodies import templates as bodies
from notifier.http.bodies.given import Word
from notifier.http.gate import caller_of
from notifier.http.wire import JsonRoute, answer
from notifier.store.tenancy import transaction

router = APIRouter(prefix="/v1", tags=["templates"], route_class=JsonRoute)


@router.get("/event-types/{event_type}/templates", response_model=bodies.TemplatesOut)
def list_templates(request: Request, event_type: Word) -> Response:
    """The tenant's own and the shared templates, of each the newest 20 versions."""
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        found = templates.listed(connection, tenant, event_type)
    return answer({"templates": [asdict(version) for version in found]})


@router.put(
    "/event-types/{event_type}/templates/{channel}/{locale}", response_model=bodies.VersionOut
)
def put_template(
    request: Request,
    event_type: Word,
    channel: Word,
    locale: Word,
    body: bodies.TemplateIn,
) -> Response:
    """Save a version of the tenant's own template, or find that the newest says the same.

    It is checked first: its parts, its syntax, its variables, and how it renders with an example.
    """
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        saved = templates.save(
            connection, tenant, event_type, channel, locale, body.parts, body.payload
        )
    return answer(asdict(saved))


@router.post("/event-types/{event_type}/preview", response_model=bodies.PreviewOut)
def preview(request: Request, event_type: Word, body: bodies.PreviewIn) -> Response:
    """Render a template, saved or given, as a recipient would get it. Nothing is sent."""
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        shown = templates.preview(connection, tenant, event_type, **body.model_dump())
    return answer(shown.facts())


@router.get("/templates/{template_id}", response_model=bodies.TemplateOut)
def read_template(request: Request, template_id: uuid.UUID) -> Response:
    """One version with its parts, the tenant's own or a shared one."""
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        version, parts = templates.find(connection, tenant, template_id)
    return answer({**asdict(version), "parts": parts})


@router.post("/templates/{template_id}/restore", response_model=bodies.VersionOut)
def restore_template(request: Request, template_id: uuid.UUID) -> Response:
    """Make this version, an earlier or a shared one, the tenant's newest."""
    tenant = caller_of(request).tenant_id
    with transaction(tenant) as connection:
        saved = templates.restore(connection, tenant, template_id)
    return answer(asdict(saved))
