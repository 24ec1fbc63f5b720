"""A Postgres cluster of our own: made on the first start, on a loopback port, with a password."""

import contextlib
import os
import secrets
import shutil
import signal
import sys
import time
from pathlib import Path

import psycopg

from notifier.local.binaries import PostgresBinaries, find_postgres
from notifier.local.errors import FolderUnusable, ServerFailed
from notifier.local.files import write_private
from notifier.local.home import Home, is_free
from notifier.local.privileges import require_a_name, run_as
from notifier.local.server import Server

DATABASE = "notifier"
PATIENCE = 120.0
"""Seconds until it has to answer. A second is usual; after a crash it first replays its log."""

TRIES = 5
"""Ports to try: another program can take one between our look and the server's start."""


class Postgres:
    """The database server of a home. `start` may be called once, `start_again` after each end."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._cluster = home.data / "postgres"
        self._binaries: PostgresBinaries = find_postgres(home.account)
        self.server = Server(
            "Postgres", home.account, home.log("postgres"), home.data / "postgres.lock"
        )

    @property
    def url(self) -> str:
        access = self._home.access
        return (
            f"postgresql://postgres:{access.postgres_password}"
            f"@127.0.0.1:{access.postgres_port}/{DATABASE}"
        )

    def start(self) -> None:
        """Return when the database `notifier` answers. Raises ServerFailed, FolderUnusable."""
        if not self._cluster.exists():
            self._create_cluster()
        self._check_version()
        access = self._home.access
        for _ in range(TRIES):
            access.postgres_port = self._home.port(access.postgres_port)
            self.server.start(self._command(access.postgres_port), signal.SIGINT)
            if self._answers():
                return
            self.server.end()
            if is_free(access.postgres_port):
                break
        raise self.server.failed("ended while it was starting")

    def start_again(self) -> None:
        """After its end, on the same port; returns when it answers. Raises ServerFailed."""
        self.server.start(self._command(self._home.access.postgres_port), signal.SIGINT)
        if not self._answers():
            raise self.server.failed("did not come back")

    def _create_cluster(self) -> None:
        """Run initdb beside the final place and rename: what exists there is always complete."""
        home, account = self._home, self._home.account
        require_a_name(account)
        for leftover in home.data.glob("postgres.unfinished-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        # A new name each time: the initdb of a caller that was killed may still be writing.
        unfinished = self._cluster.with_name(f"postgres.unfinished-{secrets.token_hex(4)}")
        password = home.data / "initdb.password"
        write_private(password, home.access.postgres_password, account)
        # The locale provider of 17 sorts by code point everywhere and knows the letters of
        # Unicode; for 16 C is the only locale that every machine has.
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        try:
            made = run_as(
                account,
                [
                    self._binaries.folder / "initdb",
                    *("--pgdata", unfinished, "--username=postgres", "--pwfile", password),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
                    *(builtin if self._binaries.major >= 17 else ()),
                    "--no-instructions",
                    # 0.1 s that data which are to be kept are worth.
                    *(() if home.keep else ("--no-sync",)),
                ],
                cwd=home.data,
            )
        finally:
            password.unlink()
        if made.returncode != 0:
            raise ServerFailed("Postgres", "could not make its data (initdb)", made.stdout.strip())
        home.remember()  # first: a cluster without its password would be of no use
        unfinished.rename(self._cluster)

    def _check_version(self) -> None:
        made_by = (self._cluster / "PG_VERSION").read_text().strip()
        if made_by != str(self._binaries.major):
            raise FolderUnusable(
                self._home.folder,
                f"its data were made by PostgreSQL {made_by}, found was {self._binaries.major} "
                f"({self._binaries.folder}): set NOTIFIER_POSTGRES_BIN to a folder with "
                f"PostgreSQL {made_by}, or choose another folder",
            )

    def _command(self, port: int) -> list[str | Path]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            # No socket file: its path would have to be shorter than 108 bytes.
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "256MB" if memory() >= 2 << 30 else "64MB",
            # A new WAL file holds up every commit for some 60 ms: keep some, to write over.
            "min_wal_size": "1GB",
            "max_wal_size": "2GB",
            "logging_collector": "off",
            "log_destination": "stderr",
        }
        if not self._home.keep:
            # Only a crash of the machine could tell, and it takes the folder along.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        self._forget_dead_postmaster()
        return [
            self._binaries.folder / "postgres",
            *("-D", self._cluster),
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
        ]

    def _forget_dead_postmaster(self) -> None:
        """Remove a stale postmaster.pid that Postgres would take for that of a live server.

        Postgres refuses to start when the pid in the file exists. It does when the killed server
        was not reaped yet (never, in a container whose first process does not care), and when
        some other process has got its number: a container that is started again counts anew.
        The server's lock proves that none of ours is left; the working folder of the process,
        that nobody started one on these data by hand. Elsewhere than on Linux Postgres decides.
        """
        file = self._cluster / "postmaster.pid"
        if sys.platform != "linux" or not Path("/proc/self").exists():
            return
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text().split()[0])
            try:
                if Path(os.readlink(f"/proc/{pid}/cwd")) == self._cluster.resolve():
                    return
            except FileNotFoundError:
                pass  # no such process, or a dead one that is still listed
            file.unlink()

    def _answers(self) -> bool:
        """Wait for the first query to succeed, then make sure of the database.

        False when the server ended instead.
        """
        deadline = time.monotonic() + PATIENCE
        while self.server.is_running():
            try:
                self._ensure_database()
                return True
            except psycopg.OperationalError as error:
                if "password authentication failed" in str(error):
                    raise FolderUnusable(
                        self._home.folder, "the password in its services.json is not the data's"
                    ) from error
                if time.monotonic() > deadline:
                    raise self.server.failed(f"does not answer after {PATIENCE:.0f} s") from error
            time.sleep(0.01)
        return False

    def _ensure_database(self) -> None:
        access = self._home.access
        with psycopg.connect(
            host="127.0.0.1",
            port=access.postgres_port,
            user="postgres",
            password=access.postgres_password,
            dbname="postgres",
            # The caller's PG… variables are meant for other servers.
            sslmode="disable",
            gssencmode="disable",
            # psycopg's shortest. A program that took our port may never answer.
            connect_timeout=2,
            autocommit=True,
        ) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if known.fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")


def memory() -> int:
    """Bytes of memory that the machine, or the container, has."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, ValueError):  # "max" when there is no limit
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(sizes)
