"""Postgres and Valkey for as long as a block runs: for `notifier up`, the demo and the tests."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from notifier.local.home import open_home
from notifier.local.postgres import Postgres
from notifier.local.valkey import Valkey


class Services:
    """The running servers and how to reach them."""

    def __init__(self, folder: Path, postgres: Postgres, valkey: Valkey) -> None:
        self.folder = folder
        self._postgres = postgres
        self._valkey = valkey

    @property
    def admin_url(self) -> str:
        """The database `notifier`, as the superuser `postgres`."""
        return self._postgres.url

    @property
    def redis_url(self) -> str:
        return self._valkey.url

    @property
    def postgres_pid(self) -> int:
        return self._postgres.server.pid

    @property
    def redis_pid(self) -> int:
        return self._valkey.server.pid

    def restart_redis(self, *, wipe: bool = True) -> None:
        """End Valkey and start it again at the same address; `wipe` loses its data, as a crash."""
        self._valkey.restart(wipe=wipe)

    def kill_redis(self) -> None:
        """SIGKILL for Valkey; it stays away, its data lost, until `restart_redis`."""
        self._valkey.server.kill()

    def kill_postgres(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End Postgres at once (SIGQUIT: an immediate shutdown); it stays away until told."""
        self._postgres.server.kill(number)

    def start_postgres(self) -> None:
        """Start Postgres again at the same address and on the same data."""
        self._postgres.start_again()


@contextmanager
def boot(folder: Path | None) -> Iterator[Services]:
    """Run both servers until the block ends. None: in a temporary folder, removed at the end.

    The data of a named folder are kept, with the default durability of Postgres; so are its
    passwords and, unless they are taken, its ports. Valkey keeps nothing.

    No signal handler is installed. When the process ends by itself, by Ctrl-C or by any signal,
    SIGKILL included, the servers end with it, within a second as a rule.

    Raises FolderInUse at once when another process has the folder, otherwise subclasses of
    LocalServicesError that say what to do, and SettingError for NOTIFIER_POSTGRES_BIN.
    """
    with ExitStack() as stack:
        home = stack.enter_context(open_home(folder))
        postgres, valkey = Postgres(home), Valkey(home)
        stack.callback(postgres.server.end)
        stack.callback(valkey.server.end)
        # Called first of the three: so both end at the same time.
        stack.callback(postgres.server.let_go)
        valkey.launch()
        postgres.start()
        valkey.wait()
        home.remember()
        yield Services(home.folder, postgres, valkey)
