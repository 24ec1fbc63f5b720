"""A provider to which tenants connect accounts, and how one is connected."""

import uuid
from collections.abc import Mapping

import pytest

from notifier import connections
from notifier.channels import registry
from notifier.channels.contract import Provider
from notifier.channels.oauth import OAuth
from notifier.store.tenancy import transaction
from notifier.words import Channel
from tests.engine import Say, Scripted, accept
from tests.vendors.oauth import AuthorizationServer, query_of


class Courier(Scripted):
    """Sends e-mail, in the name of whoever has allowed it."""

    name = "courier"
    channels = frozenset({Channel.EMAIL})

    def __init__(self, oauth: OAuth, say: Say = accept) -> None:
        super().__init__(say)
        self.oauth = oauth


def found(monkeypatch: pytest.MonkeyPatch, courier: Courier) -> None:
    """Have the registry find the courier, configured, beside the product's own providers."""

    class Configured(Courier):
        """The one there is."""

        @classmethod
        def from_environment(cls, environment: Mapping[str, str]) -> Courier:
            return courier

    known: dict[str, type[Provider]] = {**registry.providers(), "courier": Configured}
    monkeypatch.setattr(registry, "providers", lambda: known)


def connect_account(
    server: AuthorizationServer, courier: Courier, tenant: uuid.UUID, account: str = "T1"
) -> None:
    """From the address to the tokens, with somebody who consents for `account`."""
    with transaction(tenant) as connection:
        begun = connections.begin(connection, tenant, courier)
    server.account = account
    server.redirect_uris.add(connections.redirect_uri("courier"))
    back = query_of(server.consent(begun.authorize_url))
    pending = connections.use(courier, back["state"])
    assert pending is not None
    connections.make(pending, courier, back["code"])
