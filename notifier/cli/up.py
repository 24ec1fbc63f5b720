"""`notifier up`: the whole product in one command, on any machine."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import click

from notifier.cli.processes import warn_of_unread
from notifier.errors import NotifierError, SettingError
from notifier.settings import Settings, settings

LOOK = 0.2
"""Seconds between two looks at what the programs logged."""

API_PATIENCE = 20.0
"""Seconds to wait for the API before its address is printed all the same."""


@click.command()
@click.option("-c", "--concurrency", type=click.IntRange(1, 512), help="Senders; default: cores.")
@click.option("--no-api", is_flag=True, help="Without the HTTP API.")
@click.option("-q", "--quiet", is_flag=True, help="Logs to their files only.")
def up(concurrency: int | None, no_api: bool, quiet: bool) -> None:
    """Run relay, workers, beat and API, and all they need.

    Where NOTIFIER_DATABASE_URL and NOTIFIER_REDIS_URL are not set, Postgres and Valkey run in
    NOTIFIER_DATA_DIR. Ctrl-C stops everything; workers finish what they are sending.
    """
    from notifier import log
    from notifier.local.home import refuse_in_use
    from notifier.local.stack import Follower, Stack, usual
    from notifier.worker import refuse_wrong

    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Started with nohup, it outlives its terminal.
        if (number, signal.getsignal(number)) != (signal.SIGHUP, signal.SIG_IGN):
            signal.signal(number, lambda *_: stopping.set())
    log.configure()
    for name in warn_of_unread():
        # One warning is enough: none from each program.
        del os.environ[name]
    refuse_wrong(settings(), os.environ)
    with ExitStack() as cleanup:
        refuse_in_use(_folder(settings()))
        if not no_api:
            _check_port(settings())
        home = cleanup.enter_context(prepared())
        programs = usual(concurrency or os.cpu_count() or 1, api=not no_api)
        stack = Stack(programs, logs=home.folder / "logs")
        follower = Follower(stack, sys.stdout.write)
        follower.skip()
        if stopping.is_set():
            return
        cleanup.enter_context(stack)
        if not no_api:
            _await_api(home.settings, lambda: stopping.is_set() or bool(stack.failed()))
        if not stack.failed():
            click.echo(home.greeting(api=not no_api))
        while not stopping.wait(LOOK):
            if not quiet:
                follower.copy()
                sys.stdout.flush()
            if failed := stack.failed():
                words = stack.last_words(failed[0])
                raise NotifierError(f"{failed[0]} can not run:\n{words}")
        click.echo("stopping: workers finish what they are sending")
        began = time.monotonic()
        stack.stop()
        if not quiet:
            follower.copy()
        click.echo(f"stopped in {time.monotonic() - began:.1f} s")


@dataclass(frozen=True, slots=True)
class Home:
    """A prepared installation: this process's environment points at it."""

    folder: Path
    settings: Settings
    own_postgres: bool
    own_redis: bool
    key: str | None

    def greeting(self, *, api: bool) -> str:
        given = self.settings
        lines = ["", "Notifier is up.", ""]
        if api:
            lines.append(f"  API                 http://{given.http_host}:{given.http_port}/")
        postgres = "embedded, " if self.own_postgres else ""
        redis = "embedded, " if self.own_redis else ""
        lines += [
            f"  Postgres            {postgres}{_without_password(given.database_url)}",
            f"  Redis               {redis}{_without_password(given.redis_url)}",
            f"  data and logs       {self.folder}",
        ]
        if self.own_postgres or self.own_redis:
            lines += [
                "",
                "  In another terminal:",
                f"    set -a; . {self.folder}/env; set +a",
                "    notifier status",
            ]
        if self.key:
            lines += [
                "",
                "  Tenant `default` was made. Its API key, shown this once:",
                f"    {self.key}",
            ]
        return "\n".join([*lines, "", "Ctrl-C stops everything.", ""])


@contextmanager
def prepared() -> Iterator[Home]:
    """Boot what has no URL, migrate, and point this process's environment at it.

    Also used by the demo. Until the block ends the embedded services run.
    """
    from notifier import log, setup
    from notifier.local import boot
    from notifier.store.engine import pool

    given = settings()
    folder = _folder(given)
    embedded = not given.database_url or not given.redis_url
    with ExitStack() as cleanup:
        exported: dict[str, str] = {}
        if embedded:
            services = cleanup.enter_context(boot(folder))
            exported |= {
                "NOTIFIER_REDIS_URL": given.redis_url or services.redis_url,
                "NOTIFIER_OWNER_URL": given.owner_url or services.admin_url,
            }
            exported["NOTIFIER_DATABASE_URL"] = given.database_url or setup.own_server(
                services.admin_url, _kept(folder, "engine_password", lambda: token_hex(16))
            )
        folder.mkdir(parents=True, exist_ok=True)
        if not given.secret_keys:
            exported["NOTIFIER_SECRET_KEYS"] = _kept(folder, "secret_keys", _secret_key)
        os.environ.update(exported)
        settings.cache_clear()
        log.configure()
        if given.database_url:
            setup.migrate(settings())
        if embedded:
            _write_env(folder, exported)
        # The owner's URL is not for the programs.
        if embedded and not given.owner_url:
            del os.environ["NOTIFIER_OWNER_URL"]
        settings.cache_clear()
        key = setup.first_tenant("default")
        pool().dispose()
        yield Home(folder, settings(), not given.database_url, not given.redis_url, key)


def _folder(given: Settings) -> Path:
    return Path(given.data_dir).expanduser().resolve()


def _check_port(given: Settings) -> None:
    """Refuse to start beside another program on the API's port: it would only fail later."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((given.http_host, given.http_port))
        except OSError as error:
            expected = (
                f"a port that is free on {given.http_host} ({given.http_port}: {error.strerror})"
            )
            raise SettingError("NOTIFIER_HTTP_PORT", expected) from None


def _await_api(given: Settings, given_up: Callable[[], bool]) -> None:
    """Return when the API takes connections, so that the address printed can be used at once."""
    deadline = time.monotonic() + API_PATIENCE
    host = "127.0.0.1" if given.http_host in {"0.0.0.0", "::"} else given.http_host
    while time.monotonic() < deadline and not given_up():
        try:
            socket.create_connection((host, given.http_port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)


def _kept(folder: Path, name: str, make: Callable[[], str]) -> str:
    """A secret of the installation's own, made at the first start."""
    from notifier.local.files import write_private

    file = folder / name
    if not file.exists():
        write_private(file, make() + "\n")
    return file.read_text().strip()


def _secret_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def _write_env(folder: Path, exported: dict[str, str]) -> None:
    """The environment of this run, for a shell that wants to speak to it."""
    from notifier.local.files import write_private

    lines = (f"{name}='{value}'\n" for name, value in exported.items())
    write_private(folder / "env", "".join(lines))


def _without_password(url: str) -> str:
    from urllib.parse import urlsplit, urlunsplit

    where = urlsplit(url)
    host = where.netloc.rpartition("@")[2]
    return urlunsplit(where._replace(netloc=host, query=""))
