"""Tenants' connections to accounts at vendors: begun, made, refreshed in time, and ended.

A tenant is given an address (`begin`), whoever owns the account follows it and allows us in, and
the vendor sends them back with a code (`use`, `make`). From then on the provider's messages of that
tenant carry the access token (`token`). What the vendor takes no more is revoked here, too, and the
messages wait behind a pause until the tenant has connected anew.

No transaction is open while a vendor is spoken to. A state works once, is good for minutes, and is
kept as its SHA-256; tokens and verifiers are kept sealed, and none of them is in any log.
"""

import hashlib
import re
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection

from notifier import pauses, sealing
from notifier.channels import registry
from notifier.channels.contract import Provider
from notifier.channels.oauth import NoGrant, OAuth
from notifier.errors import NotFoundError, NotifierError
from notifier.log import logger
from notifier.settings import settings
from notifier.store import connections as store
from notifier.store import system
from notifier.store.connections import Connected, Held, Tokens
from notifier.store.engine import connect, statement
from notifier.store.tenancy import transaction
from notifier.words import ConnectionStatus, Severity

log = logger("connections")

GOOD_FOR = timedelta(minutes=10)
"""How long whoever owns the account has to allow us in."""

AHEAD = timedelta(minutes=5)
"""How long before its end an access token is refreshed."""

HOLD = timedelta(seconds=30)
"""How long a refresh is one worker's own; longer than the vendor can take to answer."""

BELIEVED = 5.0
"""Seconds for which a token is taken without asking the database again."""

IDLE = timedelta(minutes=5)
"""How exactly `last_used_at` is kept."""

LOOK_AGAIN = timedelta(seconds=10)
"""Until a token that is not good now is asked for again."""

ACCESS, REFRESH, VERIFIER = "access_token", "refresh_token", "verifier"
"""What the sealed values are for."""

_STATE = re.compile(r"[A-Za-z0-9_-]{43}")
_KEPT = 10_000
_known: dict[tuple[uuid.UUID, str], tuple[str | None, float]] = {}
"""By tenant and provider, its token and until when (`time.monotonic`) that is believed."""


class NotNow(NotifierError):
    """There is a connection, but no token that is good now; there may be one soon."""


@dataclass(frozen=True, slots=True)
class Begun:
    """Where whoever owns the account is to go, and until when."""

    authorize_url: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Pending:
    """A connection whose state was used up: a code may be exchanged for it, once."""

    tenant_id: uuid.UUID
    verifier: str = field(repr=False)


def connectable(providers: Mapping[str, Provider], name: str) -> Provider:
    """The provider of that name, which has an `oauth`; raises `NotFoundError` where none is so."""
    provider = providers.get(name)
    if provider is None or provider.oauth is None:
        known = ", ".join(n for n, each in providers.items() if each.oauth) or "none is configured"
        kind = registry.providers().get(name)
        if kind is not None and kind.oauth_variables:
            known += f"; {name} needs {' and '.join(kind.oauth_variables)}"
        raise NotFoundError("provider", f"one that accounts can be connected to ({known})")
    return provider


def begin(connection: Connection, tenant: uuid.UUID, provider: Provider) -> Begun:
    """The address to allow us in at, kept in the caller's transaction.

    Raises `sealing.NoKey` where no key is set.
    """
    row = store.new_id(connection)
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    until = store.keep_pending(
        connection,
        row,
        _hash(state),
        tenant,
        provider.name,
        _seal(verifier, tenant, row, VERIFIER),
        GOOD_FOR,
    )
    address = _oauth(provider).authorize(state, redirect_uri(provider.name), verifier)
    return Begun(address, until)


def redirect_uri(provider: str) -> str:
    """Where the vendor sends people back to; it is to be registered there just so."""
    return f"{settings().public_url}/oauth/{provider}/callback"


def use(provider: Provider, state: str) -> Pending | None:
    """Use a state up; None where it is unknown, too old, used before, or another provider's."""
    if not _STATE.fullmatch(state):
        return None
    with connect() as connection, connection.begin():
        found = store.use_pending(connection, _hash(state), provider.name)
    if found is None:
        return None
    row, tenant, sealed = found
    return Pending(tenant, _unseal(sealed, tenant, row, VERIFIER))


def make(pending: Pending, provider: Provider, code: str) -> None:
    """Exchange the code, keep the tokens, and let the tenant's messages go on; raises `NoGrant`.

    A tenant has one account of a provider at a time: another one takes the place of the first.
    """
    oauth, tenant = _oauth(provider), pending.tenant_id
    grant = oauth.exchange(code, redirect_uri(provider.name), pending.verifier)
    replaced = None
    with transaction(tenant) as connection:
        found = store.active(connection, tenant, provider.name)
        if found is not None and found[1] != grant.account_id:
            replaced = store.revoke(connection, found[0])
            found = None
        row = store.new_id(connection) if found is None else found[0]
        store.write(
            connection,
            row,
            tenant,
            provider.name,
            account_id=grant.account_id,
            account_name=grant.account_name,
            scopes=grant.scopes,
            access_token=_seal(grant.access_token, tenant, row, ACCESS),
            refresh_token=grant.refresh_token and _seal(grant.refresh_token, tenant, row, REFRESH),
            lasts=grant.lasts,
        )
        for pause in pauses.active(connection):
            if (pause.tenant_id, pause.provider) == (tenant, provider.name) and _is_ours(
                pause.actor
            ):
                pauses.end(connection, pause.id, tenant=tenant, actor=_actor(row))
    log.info("connected", provider=provider.name, tenant=tenant, connection=row)
    if replaced is not None:
        tell_vendor(replaced, {provider.name: provider})


def listed(connection: Connection, tenant: uuid.UUID | None = None) -> list[Connected]:
    """The connections (of `tenant`, where given), the revoked ones too, the oldest first."""
    return store.listed(connection, tenant)


def end(connection: Connection, id: uuid.UUID, *, tenant: uuid.UUID | None = None) -> Tokens:
    """Revoke a connection in the caller's transaction; its tokens, for `tell_vendor` after that.

    Workers send nothing more with it a few seconds later. tenant: where given, only a connection of
    that tenant. Raises `NotFoundError`.
    """
    ended = store.revoke(connection, id, tenant=tenant)
    if ended is None:
        raise NotFoundError("connection", "the id of a connection that is active")
    return ended


def tell_vendor(ended: Tokens, providers: Mapping[str, Provider]) -> bool:
    """Have the vendor forget the tokens of a revoked connection; whether it says that it has."""
    provider = providers.get(ended.provider)
    if provider is None or provider.oauth is None:
        return False
    whose = ended.tenant_id, ended.id
    try:
        access = _unseal(ended.access_token, *whose, ACCESS)
        refresh = ended.refresh_token and _unseal(ended.refresh_token, *whose, REFRESH)
    except (sealing.NoKey, sealing.Unopened) as fault:
        log.error("not_opened", provider=ended.provider, connection=ended.id, why=str(fault))
        return False
    return provider.oauth.revoke(access, refresh)


def token(tenant: uuid.UUID, provider: Provider) -> str | None:
    """The access token of the tenant's connection, refreshed where that is due; None where the
    tenant has never had one, empty where it has one no more. Raises `NotNow`.
    """
    key = tenant, provider.name
    known = _known.get(key)
    if known is not None and time.monotonic() < known[1]:
        return known[0]
    _known.pop(key, None)
    found = _look_up(tenant, provider)
    if len(_known) >= _KEPT:
        _known.clear()
    if found != "":
        # Who has just connected again need not wait for it.
        _known[key] = found, time.monotonic() + BELIEVED
    return found


def refused(tenant: uuid.UUID, provider: Provider, given: str, code: str) -> None:
    """The vendor took the access token `given` no more, and said so with `code`.

    Where that is still the connection's, it is over; else it has been refreshed meanwhile.
    """
    _known.pop((tenant, provider.name), None)
    with statement() as connection:
        held = store.held(connection, tenant, provider.name, AHEAD, IDLE)
    if held is None or held.access_token is None:
        return
    try:
        is_still = _unseal(held.access_token, tenant, held.id, ACCESS) == given
    except (sealing.NoKey, sealing.Unopened) as fault:
        log.error("not_opened", provider=provider.name, connection=held.id, why=str(fault))
        return
    if is_still:
        _lost(tenant, provider, held.id, code, access_token=held.access_token)


def _look_up(tenant: uuid.UUID, provider: Provider) -> str | None:
    claim = None
    with statement() as connection:
        held = store.held(connection, tenant, provider.name, AHEAD, IDLE)
        if held is None:
            return None
        if held.status is ConnectionStatus.REVOKED:
            # What the vendor has ended waits behind a pause; this window began before that.
            if any(pause.actor == _actor(held.id) for pause in pauses.active(connection)):
                raise NotNow("the vendor has ended the connection")
            return ""
        if held.unused:
            store.touch(connection, held.id)
        if held.due:
            claim = store.claim_refresh(connection, held.id, AHEAD, HOLD)
    try:
        if claim is not None:
            return _refresh(tenant, provider, held, *claim)
        return _good(tenant, held)
    except (sealing.NoKey, sealing.Unopened) as fault:
        log.error("not_opened", provider=provider.name, connection=held.id, why=str(fault))
        raise NotNow("the connection's token can not be opened") from None


def _good(tenant: uuid.UUID, held: Held) -> str:
    """The token that was there, as long as it is good."""
    if held.expired or held.access_token is None:
        raise NotNow("the connection's token has expired and is not refreshed yet")
    return _unseal(held.access_token, tenant, held.id, ACCESS)


def _refresh(
    tenant: uuid.UUID, provider: Provider, held: Held, claim: datetime, sealed: str
) -> str:
    """New tokens, under a claim of ours. A vendor may take a refresh token once: where another
    process had it, too, the second answer would end the connection."""
    oauth = _oauth(provider)
    try:
        grant = oauth.refresh(_unseal(sealed, tenant, held.id, REFRESH))
    except NoGrant as fault:
        if fault.over:
            _lost(tenant, provider, held.id, fault.code, claim=claim)
            raise NotNow("the vendor has ended the connection") from None
        # The claim stands until it lapses: that is the wait before the next try.
        log.warning(
            "not_refreshed",
            provider=provider.name,
            tenant=tenant,
            connection=held.id,
            code=fault.code,
        )
        return _good(tenant, held)
    access = _seal(grant.access_token, tenant, held.id, ACCESS)
    refresh = grant.refresh_token and _seal(grant.refresh_token, tenant, held.id, REFRESH)
    with statement() as connection:
        won = store.refreshed(connection, held.id, claim, access, refresh, grant.lasts)
    if not won:
        log.warning("refreshed_too_late", provider=provider.name, connection=held.id)
        raise NotNow("the connection was changed while it was refreshed")
    log.info("refreshed", provider=provider.name, tenant=tenant, connection=held.id)
    return grant.access_token


def _lost(
    tenant: uuid.UUID,
    provider: Provider,
    id: uuid.UUID,
    code: str,
    *,
    claim: datetime | None = None,
    access_token: str | None = None,
) -> None:
    """The vendor has ended the connection: say so, and have the tenant's messages wait."""
    reason = f"{provider.name} has ended the connection ({code}): connect the account again"
    with connect() as connection, connection.begin():
        ended = store.revoke(connection, id, claim=claim, access_token=access_token)
        if ended is None:
            return
        system.raise_event(
            connection,
            Severity.HIGH,
            "connection_revoked",
            reason,
            {"provider": provider.name, "connection": id, "code": code},
            tenant=tenant,
        )
        for channel in sorted(provider.channels):
            pauses.begin(
                connection,
                tenant=tenant,
                channel=channel,
                provider=provider.name,
                reason=reason,
                actor=_actor(id),
            )
    log.error("connection_revoked", provider=provider.name, tenant=tenant, connection=id, code=code)


def _oauth(provider: Provider) -> OAuth:
    assert provider.oauth is not None
    return provider.oauth


def _seal(secret: str, tenant: uuid.UUID, row: uuid.UUID, purpose: str) -> str:
    return sealing.seal(secret, tenant=tenant, row=row, purpose=purpose)


def _unseal(sealed: str, tenant: uuid.UUID, row: uuid.UUID, purpose: str) -> str:
    return sealing.unseal(sealed, tenant=tenant, row=row, purpose=purpose)


def _actor(id: uuid.UUID) -> str:
    """By whose word messages wait for a connection."""
    return f"connection:{id}"


def _is_ours(actor: str | None) -> bool:
    return actor is not None and actor.startswith("connection:")


def _hash(state: str) -> bytes:
    return hashlib.sha256(state.encode()).digest()
