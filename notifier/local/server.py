"""The caller's side of one server process: started under a keeper, watched, ended for certain."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from notifier.local import keeper
from notifier.local.errors import FolderUnusable, ServerFailed
from notifier.local.files import create_or_open, try_lock
from notifier.local.privileges import Account, environment

GRACE = 30
"""Seconds a server has to shut down before it is made to."""

EARLIER_RUN = 45.0
"""Seconds to wait for the server of a caller that was killed: its keeper needs up to 40."""


class Server:
    """One server process and its keeper.

    lock: taken before the start and inherited by every process of the server, so "free" means
    that none of them is left, even if they have lost their keeper.
    """

    def __init__(self, name: str, account: Account, log: Path, lock: Path) -> None:
        self.name = name
        self.pid = 0
        self._account = account
        self._log = log
        self._lock = lock
        self._keeper: subprocess.Popen[bytes] | None = None
        self._lifeline: socket.socket | None = None
        self._starter = 0

    def start(
        self, command: Sequence[str | Path], stop_signal: signal.Signals, feed: bytes = b""
    ) -> None:
        """Start the program; `feed` is what it reads on standard input.

        Returns as soon as there is a process: whether it answers is for the caller to find out.
        """
        lock = self._take_lock()
        log = create_or_open(self._log, os.O_WRONLY | os.O_APPEND)
        ours, theirs = socket.socketpair()
        try:
            self._keeper = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", keeper.__file__),
                    *map(str, (os.getpid(), theirs.fileno(), int(stop_signal), GRACE)),
                    *map(str, (self._account.uid, self._account.gid, "--", *command)),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(lock, theirs.fileno()),
                # Ctrl-C in a terminal is for the caller, which first ends those who use us.
                start_new_session=True,
                cwd="/",
                env=environment(),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(log)
            os.close(lock)
        self._lifeline = ours
        self._starter = os.getpid()
        assert self._keeper.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.write(feed)
            self._keeper.stdin.close()
        ours.settimeout(10)
        try:
            word = ours.makefile("rb").readline()
        except OSError:
            word = b""
        if not word.strip().isdigit():
            self.end()
            raise self.failed("could not be started")
        self.pid = int(word)

    def is_running(self) -> bool:
        return self._keeper is not None and self._keeper.poll() is None

    def let_go(self) -> None:
        """Begin the shutdown without waiting for it."""
        if self._lifeline is not None and self._starter == os.getpid():
            self._lifeline.close()
            self._lifeline = None

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal that ends the server, and return when no process of it is left."""
        os.kill(self.pid, number)
        self.end()

    def end(self) -> None:
        """End the server and return when no process of it is left. Does nothing the second time.

        In a process that was forked off the caller it does nothing at all: the server is not its.
        """
        if self._keeper is None or self._starter != os.getpid():
            return
        self.let_go()
        try:
            self._keeper.wait(EARLIER_RUN)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        self._keeper = None
        # Usually free at once. Not so when the keeper was killed and the server is on its own.
        if not self._is_gone(within=30.0):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            if not self._is_gone(within=10.0):
                raise self.failed(f"(process {self.pid}) does not end")

    def failed(self, what: str) -> ServerFailed:
        """The error to raise, with the end of the server's log."""
        try:
            lines = self._log.read_text(errors="replace").splitlines()[-15:]
        except OSError as error:
            lines = [str(error)]
        return ServerFailed(self.name, what, "\n".join(lines))

    def _take_lock(self) -> int:
        lock = create_or_open(self._lock, os.O_RDWR, self._account)
        deadline = time.monotonic() + EARLIER_RUN
        while not try_lock(lock, self._lock):
            if time.monotonic() > deadline:
                os.close(lock)
                raise FolderUnusable(
                    self._lock.parent,
                    f"the {self.name} of an earlier run is still there and does not end: find it "
                    f"with `fuser {self._lock}` and end it with `kill -INT`",
                )
            time.sleep(0.02)
        os.set_inheritable(lock, True)
        return lock

    def _is_gone(self, within: float) -> bool:
        lock = create_or_open(self._lock, os.O_RDWR, self._account)
        try:
            deadline = time.monotonic() + within
            while not try_lock(lock, self._lock):
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.01)
            return True
        finally:
            os.close(lock)
