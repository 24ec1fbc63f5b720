"""Accounts that a tenant has connected."""

import uuid
from datetime import datetime

from pydantic import BaseModel

from notifier.words import ConnectionStatus


class ConnectionBegunOut(BaseModel):
    """authorize_url: where whoever owns the account allows us in, once, until expires_at."""

    authorize_url: str
    expires_at: datetime


class ConnectionOut(BaseModel):
    """An account that is connected, or was. expires_at: of its token, which is refreshed before."""

    id: uuid.UUID
    provider: str
    account_id: str | None
    account_name: str | None
    scopes: list[str]
    status: ConnectionStatus
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None


class ConnectionsOut(BaseModel):
    connections: list[ConnectionOut]


class DisconnectedOut(BaseModel):
    """at_vendor: whether the vendor says that it takes the tokens no more."""

    at_vendor: bool
