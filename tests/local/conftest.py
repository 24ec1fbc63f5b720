"""The local services, always with the real programs and, where it matters, a real process to kill.

Run as root and as a plain user: the servers' account differs.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from notifier.local import Services

ROOT = os.geteuid() == 0
LINUX = sys.platform == "linux"

as_root = pytest.mark.skipif(not ROOT, reason="only root drops to another account")
needs_proc = pytest.mark.skipif(not LINUX, reason="looks into /proc")

CALLER = """
import json, os, signal, sys, time
from pathlib import Path
from notifier.local import boot
# The tests may have been started with nohup.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
with boot(Path(sys.argv[1])) as services:
    print(json.dumps([services.admin_url, services.redis_url,
                      services.postgres_pid, services.redis_pid]), flush=True)
    time.sleep(600)
"""


class Caller:
    """Another process that boots a folder, like `notifier up` in a second terminal."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CALLER, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            **options,  # type: ignore[call-overload]
        )
        line = self.process.stdout.readline()
        self.admin_url, self.redis_url, self.postgres_pid, self.redis_pid = json.loads(line)

    @property
    def family(self) -> set[int]:
        """The servers, their children and their keepers."""
        keepers = {parent_of(self.postgres_pid), parent_of(self.redis_pid)}
        return {self.redis_pid, self.postgres_pid, *children(self.postgres_pid), *keepers}

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that is not there yet; what lies behind its link goes with it."""
    folder = tmp_path / "services"
    yield folder
    if (folder / "data").is_symlink():
        shutil.rmtree((folder / "data").resolve())


@pytest.fixture
def caller(folder: Path) -> Iterator[Caller]:
    caller = Caller(folder)
    yield caller
    caller.end(signal.SIGKILL)
    wait_until_gone({caller.postgres_pid, caller.redis_pid})


def ask(services: Services | Caller, query: str) -> object:
    with psycopg.connect(services.admin_url, autocommit=True) as connection:
        cursor = connection.execute(query)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def valkey(services: Services | Caller) -> redis.Redis:
    return redis.Redis.from_url(services.redis_url, decode_responses=True)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return not state.stdout.startswith("Z")


def wait_until_gone(pids: set[int], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while alive := {pid for pid in pids if is_alive(pid)}:
        assert time.monotonic() < deadline, f"still running: {alive}"
        time.sleep(0.02)


def parent_of(pid: int) -> int:
    answer = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True)
    return int(answer.stdout)


def children(pid: int) -> set[int]:
    every = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = (map(int, line.split()) for line in every.stdout.splitlines())
    return {child for child, parent in pairs if parent == pid}


def everybody_may_enter(folder: Path) -> None:
    for place in (folder, *folder.parents):
        if place.stat().st_uid == os.geteuid() and place.stat().st_mode & 0o111 != 0o111:
            place.chmod(place.stat().st_mode | 0o111)
