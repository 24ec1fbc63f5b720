"""Templates, their versions and previews."""

import uuid
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from notifier.http.bodies.given import Given


class TemplateIn(Given):
    """A new version's sources by part. payload: an example for event types that ship none."""

    parts: dict[str, str]
    payload: dict[str, Any] | None = None


class PreviewIn(Given):
    """What to render. parts: sources that are not saved; else what a delivery would take.

    payload: else the event type's example, where it ships one.
    """

    channel: str
    locale: str = "en"
    timezone: str = "UTC"
    payload: dict[str, Any] | None = None
    parts: dict[str, str] | None = None


class VersionOut(BaseModel):
    """One version of a template. is_own: the tenant's own, else shared by all."""

    id: uuid.UUID
    event_type: str
    channel: str
    locale: str
    version: int
    is_own: bool
    created_at: datetime


class TemplatesOut(BaseModel):
    """By channel and locale, the tenant's own first, of each the newest versions first."""

    templates: list[VersionOut]


class TemplateOut(VersionOut):
    """parts: sources by name."""

    parts: dict[str, str]


class SmsOut(BaseModel):
    """How long a text is by SMS. units: characters as the encoding counts them."""

    encoding: Literal["GSM-7", "UCS-2"]
    units: int
    segments: int


class PreviewOut(BaseModel):
    """parts: as a recipient would get them. template: the version taken, where it is stored."""

    parts: dict[str, str]
    template: VersionOut | None
    sms: SmsOut | None
