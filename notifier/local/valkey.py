"""A Valkey of our own, on a loopback port, with a password and nothing kept on disk.

It may forget: what has to last is in Postgres.
"""

import signal
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from notifier.local.binaries import find_valkey
from notifier.local.home import Home, is_free
from notifier.local.server import Server

PATIENCE = 30.0
TRIES = 5
"""Ports to try: another program can take one between our look and the server's start."""


class Valkey:
    """The broker of a home. After `restart` it has the same address."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._folder = home.data / "valkey"
        self._program = find_valkey(home.account)
        self.server = Server("Valkey", home.account, home.log("valkey"), home.data / "valkey.lock")

    @property
    def url(self) -> str:
        access = self._home.access
        return f"redis://:{access.redis_password}@127.0.0.1:{access.redis_port}/0"

    def launch(self) -> None:
        """Start the process; `wait` tells when it answers."""
        (self._folder / "dump.rdb").unlink(missing_ok=True)
        self._home.access.redis_port = self._home.port(self._home.access.redis_port)
        self._start()

    def wait(self) -> None:
        """Return when it answers. Raises ServerFailed."""
        for _ in range(TRIES):
            if self._answers():
                return
            self.server.end()
            if is_free(self._home.access.redis_port):
                break
            self.launch()
        raise self.server.failed("ended while it was starting")

    def restart(self, *, wipe: bool) -> None:
        """End it and start it again on the same port, without its data or (wipe=False) with."""
        dump = self._folder / "dump.rdb"
        if wipe:
            dump.unlink(missing_ok=True)
        else:
            with self._connect(PATIENCE) as client:
                client.save()
        self.server.end()
        self._start()
        if not self._answers():
            raise self.server.failed("did not come back")
        dump.unlink(missing_ok=True)

    def _start(self) -> None:
        # On standard input: a command line is readable by everybody, a file is left behind.
        self.server.start([self._program, "-"], signal.SIGTERM, feed=self._settings().encode())

    def _settings(self) -> str:
        folder = str(self._folder).replace("\\", "\\\\").replace('"', '\\"')
        return "\n".join(
            (
                "bind 127.0.0.1",
                f"port {self._home.access.redis_port}",
                f"requirepass {self._home.access.redis_password}",
                'save ""',
                "appendonly no",
                "daemonize no",
                # A broker that evicts loses messages; refusing new ones is noticed.
                "maxmemory-policy noeviction",
                f'dir "{folder}"',
                "",
            )
        )

    def _answers(self) -> bool:
        """Wait for the first answer; False when the server ended instead."""
        deadline = time.monotonic() + PATIENCE
        while self.server.is_running():
            try:
                with self._connect() as client:
                    client.ping()
                return True
            except redis.RedisError as error:
                if time.monotonic() > deadline:
                    raise self.server.failed(f"does not answer after {PATIENCE:.0f} s") from error
            time.sleep(0.01)
        return False

    def _connect(self, patience: float = 1.0) -> redis.Redis:
        return redis.Redis(
            host="127.0.0.1",
            port=self._home.access.redis_port,
            password=self._home.access.redis_password,
            socket_timeout=patience,
            # Its own retries wait longer than the server needs to start.
            retry=Retry(NoBackoff(), 0),
        )
