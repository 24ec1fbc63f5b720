"""`notifier up` and its stack: real processes, killed for real, and none left behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from notifier.local import scratch
from notifier.local.stack import Follower, Stack, forked, usual
from tests.conftest import Database

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


def until(what: Callable[[], object], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not what():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def processes_of(folder: Path) -> set[int]:
    """Every process whose environment or command line names the folder."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            for name in ("environ", "cmdline"):
                try:
                    if str(folder).encode() in Path("/proc", entry, name).read_bytes():
                        found.add(int(entry))
                except OSError:
                    pass
    return {pid for pid in found if alive(pid)}


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def stack(database: Database, tmp_path: Path) -> Iterator[Stack]:
    programs = {name: words for name, words in usual(2, api=False).items() if name != "beat"}
    with Stack(programs, logs=tmp_path / "logs") as running:
        yield running


def logged(stack: Stack, name: str, word: str) -> Callable[[], bool]:
    return lambda: word in stack.log(name).read_text()


def ready(stack: Stack, name: str) -> Callable[[], bool]:
    return logged(stack, name, "worker_ready")


def test_a_killed_worker_takes_its_pool_along_and_is_started_again(stack: Stack) -> None:
    until(ready(stack, "worker-1"))
    until(lambda: len(stack.pids("worker-1")) == 3)
    before = stack.pids("worker-1")
    assert forked(before[0]) == before[1:]
    assert stack.kill("worker-1", signal.SIGKILL) == before[0]
    until(lambda: not any(map(alive, before)), patience=5)
    until(lambda: stack.pid("worker-1") not in (0, before[0]))
    assert stack.starts("worker-1") == 2
    until(lambda: stack.log("worker-1").read_text().count("worker_ready") == 2)


def test_stop_ends_every_process_and_may_be_called_again(stack: Stack) -> None:
    until(ready(stack, "worker-1"))
    running = [pid for name in stack.names() for pid in stack.pids(name)]
    assert len(running) >= 5
    stack.stop()
    assert not any(map(alive, running))
    assert stack.pids("relay") == []
    stack.stop()
    assert '"relay_stopped"' in stack.log("relay").read_text()


def test_a_program_that_can_not_start_is_not_started_again(
    database: Database, tmp_path: Path
) -> None:
    with Stack({"worker": ["worker", "--lanes", "urgent"]}, logs=tmp_path) as stack:
        until(stack.failed)
        assert stack.starts("worker") == 1
        lines: list[str] = []
        Follower(stack, lines.append).copy()
        assert any("unknown lane 'urgent'" in line for line in lines)
        assert all(line.startswith("worker  ") for line in lines)


def test_the_last_words_of_a_program_are_of_its_last_start(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "worker.log").write_text("of an earlier run\n")
    with Stack({"worker": ["worker", "--lanes", "urgent"]}, logs=tmp_path) as stack:
        until(stack.failed)
        words = stack.last_words("worker")
    assert "unknown lane 'urgent'" in words
    assert "earlier" not in words


def test_every_program_warns_once_of_a_variable_that_nothing_reads(
    database: Database, tmp_path: Path
) -> None:
    programs = {name: words for name, words in usual(1).items() if name != "worker-critical"}
    with Stack(
        {**programs, "api": ["api", "--port", str(free_port())]},
        logs=tmp_path,
        environment={"NOTIFIER_SMTP_HSOT": "mail.example.org"},
    ) as stack:
        for name in stack.names():
            until(logged(stack, name, "settings_unread"))
        until(ready(stack, "worker-1"))
    for name in stack.names():
        told = [line for line in stack.log(name).read_text().splitlines() if "_HSOT" in line]
        assert len(told) == 1
        assert json.loads(told[0])["mend"] == {
            "NOTIFIER_SMTP_HSOT": "rename it to NOTIFIER_SMTP_HOST"
        }


def test_what_is_logged_is_json(stack: Stack) -> None:
    until(ready(stack, "worker-1"))
    stack.stop()
    for name in stack.names():
        lines = stack.log(name).read_text().splitlines()
        assert lines
        assert all("event" in json.loads(line) for line in lines), lines


@pytest.fixture
def up() -> Iterator["Up"]:
    with scratch("notifier-up-") as folder:
        running = Up(folder / "data")
        yield running
        running.end()


UP = (sys.executable, "-m", "notifier.cli", "up")
SMALL = ("--no-api", "-c", "1")

UNDER = """
import os, signal, sys
signal.signal(signal.SIGHUP, int(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Up:
    """A `notifier up` of its own, with nothing set but its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("NOTIFIER_")},
            "NOTIFIER_DATA_DIR": str(folder),
            "PYTHONPATH": str(ROOT),
        }
        self.output = folder.with_name("up.log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, hang_up: signal.Handlers = signal.SIG_DFL) -> None:
        """hang_up: what it finds set for the end of its terminal; nohup has it ignored."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", UNDER, str(int(hang_up)), *UP, *SMALL],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(lambda: self.printed().count('"worker_ready"') == 2)

    def printed(self) -> str:
        return self.output.read_text()

    def notifier(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the environment that `up` wrote down."""
        given = dict(re.findall(r"(?m)^(\w+)='(.*)'$", (self.folder / "env").read_text()))
        return subprocess.run(
            [sys.executable, "-m", "notifier.cli", *arguments],
            env={**self.environment, **given},
            capture_output=True,
            text=True,
        )

    def again(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Another `up` in the same folder, which is expected to end by itself."""
        return subprocess.run(
            UP, env={**self.environment, **environment}, capture_output=True, text=True
        )

    def with_its_port_taken(self) -> subprocess.CompletedProcess[str]:
        """Another `up`, whose API finds somebody else at its port."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen(1)
            port = str(taken.getsockname()[1])
            return self.again(NOTIFIER_HTTP_PORT=port)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        until(lambda: not processes_of(self.folder))


def test_up_needs_nothing_and_stops_in_order(up: Up) -> None:
    up.start()
    emitted = up.notifier(
        *("emit", "user.signup", "--tenant", "default"),
        *("--payload", '{"email": "ada@example.com"}'),
        *("--to", '{"addresses": [{"channel": "email", "address": "ada@example.com"}]}'),
    )
    assert emitted.returncode == 0, emitted.stderr
    until(lambda: '"sent": 1' in up.notifier("status", "--json").stdout)
    kept = {name: (up.folder / name).read_text() for name in ("env", "secret_keys")}
    for name in ("engine_password", "services.json", *kept):
        assert (up.folder / name).stat().st_mode & 0o077 == 0
    assert up.process is not None
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(PATIENCE) == 0
    assert "stopped in" in up.printed()
    assert not processes_of(up.folder)

    up.start()
    assert '"sent": 1' in up.notifier("status", "--check", "--json").stdout
    assert {name: (up.folder / name).read_text() for name in kept} == kept
    assert "API key" not in up.printed()


def test_the_end_of_its_terminal_stops_up_unless_nohup_started_it(up: Up) -> None:
    up.start(hang_up=signal.SIG_IGN)
    assert up.process is not None
    up.process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert "stopping" not in up.printed()
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(PATIENCE) == 0

    up.start()
    up.process.send_signal(signal.SIGHUP)
    assert up.process.wait(PATIENCE) == 0


def test_up_uses_the_servers_whose_urls_are_set(up: Up, database: Database) -> None:
    up.environment |= {
        "NOTIFIER_DATABASE_URL": database.engine_url,
        "NOTIFIER_REDIS_URL": database.redis_url,
        "NOTIFIER_SMTP_HSOT": "mail.example.org",
    }
    up.start()
    assert up.printed().count("rename it to NOTIFIER_SMTP_HOST") == 1
    assert "embedded" not in up.printed()
    assert not (up.folder / "services.json").exists()
    assert database.one("SELECT name FROM notifier.tenants") == "default"
    assert up.process is not None
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(PATIENCE) == 0


def test_a_second_up_in_the_folder_is_told_of_the_first_and_not_of_its_port(up: Up) -> None:
    up.start()
    assert up.process is not None
    refused = up.with_its_port_taken()
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        f"notifier: Notifier runs in {up.folder} already, as process {up.process.pid}:"
    )


def test_up_says_of_each_server_whether_it_is_its_own(up: Up, database: Database) -> None:
    up.environment["NOTIFIER_REDIS_URL"] = database.redis_url
    up.start()
    assert re.search("Postgres +embedded, postgresql:", up.printed())
    assert re.search("Redis +redis:", up.printed())


def test_up_refuses_a_port_that_is_taken(up: Up) -> None:
    refused = up.with_its_port_taken()
    assert refused.returncode == 2
    assert refused.stderr.startswith("notifier: NOTIFIER_HTTP_PORT: expected a port that is free")


def test_up_refuses_wrong_settings_of_providers_before_it_starts_anything(up: Up) -> None:
    for name, value in (("PROVIDERS", "email=smpt"), ("RATES", "twilo=10")):
        refused = up.again(**{f"NOTIFIER_{name}": value})
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"notifier: NOTIFIER_{name}: expected")
        assert refused.stdout == ""
        assert not up.folder.exists()


def test_nothing_is_left_running_when_up_is_killed(up: Up) -> None:
    up.start()
    assert up.process is not None
    up.process.kill()
    up.process.wait()
    until(lambda: not processes_of(up.folder), patience=20)
