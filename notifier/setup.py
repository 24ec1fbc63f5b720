"""Make a database ready: its schema, the shipped event types, a login, a first tenant."""

from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from notifier import register
from notifier.errors import InvalidValue, NotifierError, SettingError
from notifier.settings import Settings, or_of_up
from notifier.store import keys, roles, tenants
from notifier.store import migrate as schema
from notifier.store.engine import connect, engine_for


class NotTheOwner(NotifierError):
    """The login may not change the schema."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "migrating needs the schema's owner: set NOTIFIER_OWNER_URL to the URL of a login "
            f"that may create schemas and roles ({why})"
        )


@dataclass(frozen=True, slots=True)
class Migrated:
    """What the database is at now."""

    version: str | None
    event_types: int


def migrate(settings: Settings, version: str = "head", *, with_login: bool = False) -> Migrated:
    """Migrate to `version` and register the shipped catalogue.

    with_login: also make the login of NOTIFIER_DATABASE_URL, a member of `notifier_engine`.
    """
    url = settings.owner_url or settings.database_url
    if not url:
        raise SettingError("NOTIFIER_DATABASE_URL", f"a Postgres URL ({or_of_up()})")
    if version != "head" and version not in schema.versions():
        raise InvalidValue("--to", f"one of {', '.join(schema.versions())}")
    engine = engine_for(url, 1)
    try:
        with engine.connect() as connection:
            found = _refuse_newer(connection)
            if found != (schema.versions()[-1] if version == "head" else version):
                schema.migrate(connection, version)
            at = schema.installed_version(connection)
            known = 0
            if at == schema.versions()[-1]:
                if with_login:
                    roles.ensure_login(connection, settings.database_url, "engine")
                known = register.shipped(connection)
                connection.commit()
    except ProgrammingError as error:
        raise NotTheOwner(str(error.orig).splitlines()[0]) from error
    finally:
        engine.dispose()
    return Migrated(at, known)


def _refuse_newer(connection: Connection) -> str | None:
    """The version of the database; raises where this release does not know it."""
    found = schema.installed_version(connection)
    if found is not None and found not in schema.versions():
        raise NotifierError(
            f"the database is at version {found}, which is newer than this release "
            f"({schema.versions()[-1]}): install the newer release"
        )
    return found


def own_server(admin_url: str, password: str) -> str:
    """Migrate a server of our own as its superuser; the URL of the engine's login, made with
    the password.
    """
    engine = engine_for(admin_url, 1)
    try:
        with engine.connect() as connection:
            _refuse_newer(connection)
            if schema.installed_version(connection) != schema.versions()[-1]:
                schema.migrate(connection)
            register.shipped(connection)
            connection.commit()
            url = roles.login_url(admin_url, "engine", password)
            roles.ensure_login(connection, url, "engine")
            return url
    finally:
        engine.dispose()


def first_tenant(name: str) -> str | None:
    """Create a tenant with an API key where there is no tenant at all; the key, or None."""
    with connect() as connection, connection.begin():
        made = tenants.create_first(connection, name)
        if made is None:
            return None
        _, token = keys.create_key(connection, made, "first")
        return token
