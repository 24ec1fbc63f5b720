"""Look at everything this process depends on, and say of each fault how to mend it."""

import difflib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from redis.exceptions import RedisError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from notifier import failpoints, queue
from notifier.channels import registry
from notifier.channels.contract import Provider
from notifier.errors import NotifierError, SettingError
from notifier.settings import PREFIX, Settings, or_of_up
from notifier.settings import names as setting_names
from notifier.store import health, routes, system, tenants
from notifier.store.engine import engine_for
from notifier.store.migrate import installed_version, versions
from notifier.words import Channel
from notifier.worker import Worker

PARTITIONS_AHEAD = timedelta(weeks=1)
OLD_SNAPSHOT = timedelta(minutes=5)
CLOCK_SKEW = timedelta(seconds=2)
OLDEST_REDIS = (6, 2)

ELSEWHERE = ("NOTIFIER_POSTGRES_BIN", registry.PROVIDERS, failpoints.FOLDER)
"""Variables that neither the settings nor a provider read."""


class Level(StrEnum):
    """How bad a finding is; `wrong` makes `doctor` fail."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `mend` says what to do about it."""

    level: Level
    about: str
    what: str
    mend: str = ""


def examine_servers(settings: Settings) -> Iterator[Finding]:
    """Only whether Postgres and Redis answer and fit: for a container's health check."""
    if not settings.database_url and not settings.redis_url:
        yield _wrong(
            "postgres and redis",
            "neither NOTIFIER_DATABASE_URL nor NOTIFIER_REDIS_URL is set",
            f"set them to the servers' URLs, {or_of_up()}",
        )
        return
    yield from _database(settings)
    yield from _redis(settings)


def known_variables() -> list[str]:
    """Every `NOTIFIER_…` variable that anything reads."""
    found = {*setting_names(), *ELSEWHERE}
    for kind in registry.providers().values():
        found |= set(kind.variables())
    return sorted(found)


def unread(environment: Mapping[str, str]) -> dict[str, str]:
    """The `NOTIFIER_…` variables that nothing reads, each with how to mend it."""
    known = known_variables()
    mends: dict[str, str] = {}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            mends[name] = f"rename it to {near[0]}" if near else "unset it"
    return mends


def examine(settings: Settings, environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Every finding, in the order in which they are best mended."""
    yield from _variables(environment)
    yield from _secrets(settings)
    yield from _links(settings)
    yield from examine_servers(settings)
    yield from _providers(settings, environment)


def examine_setting(
    fault: SettingError, environment: Mapping[str, str] = os.environ
) -> Iterator[Finding]:
    """All that can be said while a setting is wrong."""
    yield from _variables(environment)
    yield _wrong("settings", str(fault), f"correct {fault.variable}")


def _ok(about: str, what: str) -> Finding:
    return Finding(Level.OK, about, what)


def _wrong(about: str, what: str, mend: str) -> Finding:
    return Finding(Level.WRONG, about, what, mend)


def _variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    mends = unread(environment)
    for name, mend in mends.items():
        yield _wrong("settings", f"{name} is not a setting: nothing reads it", mend)
    if not mends:
        yield _ok("settings", "every NOTIFIER_ variable is one that is read")


def _secrets(settings: Settings) -> Iterator[Finding]:
    keys = [key for key in settings.secret_keys.split(",") if key.strip()]
    if keys:
        yield _ok("secrets", f"{len(keys)} secret key{'s' if len(keys) > 1 else ''}")
    else:
        yield Finding(
            Level.NOTE,
            "secrets",
            "no secret key: links can not be signed, nor secrets be stored",
            "set NOTIFIER_SECRET_KEYS to what `notifier keys secret` prints",
        )


def _links(settings: Settings) -> Iterator[Finding]:
    host = urlsplit(settings.public_url).hostname or ""
    if host == "localhost" or host == "::1" or host.startswith("127."):
        yield Finding(
            Level.NOTE,
            "links",
            f"links in messages and call backs lead to {settings.public_url}, which only this "
            "machine reaches",
            "set NOTIFIER_PUBLIC_URL to where recipients and providers reach `notifier api`",
        )
    else:
        yield _ok("links", f"lead to {settings.public_url}")


def _database(settings: Settings) -> Iterator[Finding]:
    if not settings.database_url:
        yield _wrong(
            "postgres",
            "NOTIFIER_DATABASE_URL is not set",
            f"set it to a Postgres URL, {or_of_up()}",
        )
        return
    engine = engine_for(settings.database_url, 1)
    try:
        with engine.connect() as connection:
            yield from _inside(connection)
    except DBAPIError as error:
        lines = str(error.orig).strip().splitlines() or ["no answer"]
        yield _wrong(
            "postgres",
            f"does not answer: {lines[0]}",
            "start it, or correct NOTIFIER_DATABASE_URL",
        )
    finally:
        engine.dispose()


def _inside(connection: Connection) -> Iterator[Finding]:
    facts = health.server(connection)
    if int(facts.version.split(".")[0]) < 16:
        yield _wrong("postgres", f"is version {facts.version}", "upgrade it to 16 or newer")
    else:
        yield _ok("postgres", f"version {facts.version}, login {facts.login}")
    if facts.mighty:
        yield Finding(
            Level.NOTE,
            "roles",
            f"{facts.login} is a superuser or owns the schema, and may do more than it has to",
            "use a login of its own: `notifier migrate --with-login` makes one",
        )
    elif facts.member is False:
        yield _wrong(
            "roles",
            f"{facts.login} has not the privileges of notifier_engine",
            f"as the owner: GRANT notifier_engine TO {facts.login}",
        )
        return
    elif facts.member:
        yield _ok("roles", f"{facts.login} works as notifier_engine")
    found, newest = installed_version(connection), versions()[-1]
    if found != newest:
        yield _wrong(
            "schema",
            f"is at version {found or 'none'}, this release needs {newest}",
            "run `notifier migrate`"
            if found is None or found in versions()
            else "install the newer release: the database is ahead of this one",
        )
        return
    yield _ok("schema", f"version {found}")
    missing = health.without_partition(connection, PARTITIONS_AHEAD)
    if missing:
        yield _wrong(
            "partitions",
            f"none for next week: {', '.join(missing)}",
            "run `notifier relay` or `notifier beat`, which make them, and see why they did not",
        )
    else:
        yield _ok("partitions", "made for the weeks to come")
    oldest = health.oldest_snapshot(connection)
    if oldest > OLD_SNAPSHOT:
        yield _wrong(
            "snapshots",
            f"a transaction has been open for {oldest.total_seconds():.0f} s: vacuum can not "
            "clean the dispatches, and every claim gets slower",
            "end it: SELECT pid, query FROM pg_stat_activity WHERE backend_xmin IS NOT NULL "
            "ORDER BY xact_start",
        )
    else:
        yield _ok("snapshots", f"oldest {oldest.total_seconds():.1f} s")
    before = datetime.now(UTC)
    theirs = system.now(connection)
    skew = theirs - before - (datetime.now(UTC) - before) / 2
    if abs(skew) > CLOCK_SKEW:
        yield _wrong(
            "clock",
            f"this machine is {abs(skew).total_seconds():.1f} s "
            f"{'behind' if skew > timedelta() else 'ahead of'} Postgres",
            "let both keep time (chrony, systemd-timesyncd)",
        )
    else:
        yield _ok("clock", f"{skew.total_seconds() * 1000:+.0f} ms to Postgres")


def _redis(settings: Settings) -> Iterator[Finding]:
    if not settings.redis_url:
        yield _wrong(
            "redis",
            "NOTIFIER_REDIS_URL is not set",
            f"set it to a Redis or Valkey URL, {or_of_up()}",
        )
        return
    try:
        facts: Mapping[str, str] = queue.server_facts()
    except (RedisError, OSError) as error:
        yield _wrong(
            "redis", f"does not answer: {error}", "start it, or correct NOTIFIER_REDIS_URL"
        )
        return
    version = facts["version"]
    if tuple(int(word) for word in version.split(".")[:2]) < OLDEST_REDIS:
        yield _wrong("redis", f"is version {version}", "upgrade it to 6.2 or newer")
    else:
        yield _ok("redis", f"version {version}")
    if facts["policy"] not in {"noeviction", ""}:
        yield _wrong(
            "redis",
            f"maxmemory-policy is {facts['policy']}: under pressure it drops queues",
            "CONFIG SET maxmemory-policy noeviction",
        )


def _providers(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    try:
        with registry.chosen(environment) as chosen:
            yield from _chosen(settings, chosen)
    except SettingError as error:
        yield _wrong("providers", str(error), f"correct {error.variable}")
    except NotifierError as error:
        yield _wrong("providers", str(error), "correct what it names")


def _chosen(
    settings: Settings, chosen: Mapping[Channel, tuple[Provider, ...]]
) -> Iterator[Finding]:
    by_provider: dict[Provider, list[str]] = {}
    for channel, chain in chosen.items():
        if not chain:
            yield Finding(
                Level.NOTE,
                f"channel {channel}",
                "nobody carries it: its messages fail with no_provider",
                f"configure one of its providers, or capture it: {registry.PROVIDERS}="
                f"{channel}=sandbox; then replay",
            )
        for provider in chain:
            by_provider.setdefault(provider, []).append(channel)
    for provider, channels in by_provider.items():
        about, carries = f"provider {provider.name}", f"carries {', '.join(channels)}"
        problem = provider.check()
        if problem:
            yield _wrong(about, f"{carries}: {problem}", _variables_of(type(provider)))
        elif provider.stand_in:
            yield Finding(
                Level.NOTE,
                about,
                f"{carries}: captured, not sent",
                "configure a provider of these channels to really send",
            )
        else:
            yield _ok(about, carries)
    worker = Worker(chosen, settings)
    try:
        worker.check_rates()
    except SettingError as error:
        yield _wrong("rates", str(error), f"correct {error.variable}")
    try:
        worker.check_lease()
        yield _ok("lease", f"{settings.lease_seconds:g} s, longer than any provider takes")
    except SettingError as error:
        yield _wrong("lease", str(error), f"raise {error.variable}, or shorten the deadline")
    yield from _routes(settings, chosen)
    idle = set(registry.providers()) - {provider.name for provider in by_provider}
    for name in sorted(idle):
        kind = registry.providers()[name]
        if not kind.stand_in:
            yield Finding(Level.NOTE, f"provider {name}", "not in use", _variables_of(kind))


def _routes(settings: Settings, chosen: Mapping[Channel, Sequence[Provider]]) -> Iterator[Finding]:
    """Tenants' own routes that lead to nobody here: what takes them becomes a dead letter."""
    if not settings.database_url:
        return
    named: dict[tuple[uuid.UUID, Channel], list[str]] = {}
    names: dict[uuid.UUID, str | None] = {}
    engine = engine_for(settings.database_url, 1)
    try:
        with engine.connect() as connection:
            for tenant, channel, provider, _, _ in routes.load(connection):
                named.setdefault((tenant, channel), []).append(provider)
                names[tenant] = tenants.name_of(connection, tenant)
    except DBAPIError:
        # What is wrong with the database has been said.
        return
    finally:
        engine.dispose()
    for (tenant, channel), providers in named.items():
        if not {provider.name for provider in chosen[channel]} & set(providers):
            yield _wrong(
                "routes",
                f"{names[tenant]} sends {channel} through {', '.join(providers)} alone, which "
                "does not carry it here: its messages fail with no_provider",
                f"configure {providers[0]} and name it in {registry.PROVIDERS}, or "
                f"`notifier routes clear --tenant {tenant} {channel}`; then replay",
            )


def _variables_of(kind: type[Provider]) -> str:
    variables = ", ".join(kind.variables())
    return f"its settings: {variables}" if variables else f"name it in {registry.PROVIDERS}"
