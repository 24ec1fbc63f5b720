"""The product's own processes as children: started, watched, started again, ended for certain.

Every child has a keeper (`keeper.py`), so none outlives the process that wanted it, however that
died. Used by `notifier up`, the demo and the tests.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from notifier.local import keeper
from notifier.local.files import create_or_open
from notifier.log import logger

log = logger("stack")

GRACE = 60
"""Seconds a program has to finish what it is doing before it is made to end."""

BACKOFF = (0.2, 1.0, 2.0, 5.0, 10.0, 15.0)
"""Seconds before a program that ended by itself is started again."""

SETTLED = 30.0
"""A program that lived for so many seconds starts with the first backoff again."""

WRONG_USE = 2
"""The exit code of a program that can not start: starting it again would change nothing."""

LOOK = 0.05

Programs = Mapping[str, Sequence[str]]
"""The arguments of `notifier` for each process, by the name it is known by."""

FIRST_TO_STOP = ("beat", "relay", "api")
"""They stop before the workers do, so that nothing new is handed to those."""


def usual(concurrency: int, *, api: bool = True) -> dict[str, list[str]]:
    """What a whole installation runs: one worker for everything, one kept for what is critical."""
    return {
        "relay": ["relay"],
        "worker-1": ["worker", "--name", "worker-1", "-c", str(concurrency)],
        "worker-critical": [
            *("worker", "--name", "worker-critical", "--lanes", "critical", "-c", "1")
        ],
        "beat": ["beat"],
        **({"api": ["api"]} if api else {}),
    }


@dataclass(slots=True)
class _Child:
    """One process and its keeper."""

    arguments: Sequence[str]
    keeper: subprocess.Popen[bytes] | None = None
    lifeline: socket.socket | None = None
    pid: int = 0
    log_began: int = 0
    started: float = 0.0
    falls: int = 0
    due: float = 0.0
    gone: bool = False
    ended: list[int] = field(default_factory=list)


class Stack:
    """Named `notifier` processes; use as a context manager, or `start` and `stop`.

    environment: variables on top of this process's own.
    logs: folder of one log file a process, `<name>.log`; kept over restarts of the process.
    restart: start again what ended by itself.
    """

    def __init__(
        self,
        programs: Programs,
        *,
        logs: Path,
        environment: Mapping[str, str] | None = None,
        restart: bool = True,
        grace: int = GRACE,
    ) -> None:
        self._children = {name: _Child(arguments) for name, arguments in programs.items()}
        self._environment = {**os.environ, **_path(), **(environment or {})}
        self._logs = logs
        self._restart = restart
        self._grace = grace
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._watch: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start every program; returns at once, whether they are ready is for them to show."""
        self._logs.mkdir(parents=True, exist_ok=True)
        for name in self._children:
            self._start(name)
        self._watch = threading.Thread(target=self._look_after, name="stack", daemon=True)
        self._watch.start()

    def names(self) -> list[str]:
        return list(self._children)

    def log(self, name: str) -> Path:
        """The log file of a program."""
        return self._logs / f"{name}.log"

    def last_words(self, name: str, lines: int = 5) -> str:
        """The end of what the program has logged since its last start."""
        with self.log(name).open("rb") as file:
            file.seek(self._children[name].log_began)
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])

    def pid(self, name: str) -> int:
        """The process itself; 0 while it is not running."""
        with self._lock:
            child = self._children[name]
            return child.pid if child.keeper and child.keeper.poll() is None else 0

    def pids(self, name: str) -> list[int]:
        """The process and those it forked (a worker's pool); empty while it is not running."""
        pid = self.pid(name)
        return [pid, *forked(pid)] if pid else []

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to the process itself, not to those it forked; its pid."""
        pid = self.pid(name)
        if not pid:
            raise ProcessLookupError(f"{name} is not running")
        os.kill(pid, number)
        return pid

    def end(self, name: str) -> None:
        """End one program and do not start it again."""
        child = self._children[name]
        with self._lock:
            child.gone = True
            self._let_go(name)
        self._wait(name, time.monotonic() + self._grace)

    def starts(self, name: str) -> int:
        """How often the program has been started."""
        child = self._children[name]
        return len(child.ended) + bool(child.pid and not child.gone)

    def failed(self) -> list[str]:
        """Programs that ended for good: for wrong use, or because restarting is off."""
        return [name for name, child in self._children.items() if child.gone]

    def stop(self, grace: float | None = None) -> None:
        """End all, workers last, and return when no process is left. May be called again.

        grace: seconds until what still runs is killed; the stack's own where not given.
        """
        self._stopping.set()
        if self._watch is not None:
            self._watch.join()
            self._watch = None
        first = [n for n in self._children if n.startswith(FIRST_TO_STOP)]
        last = [n for n in self._children if n not in first]
        deadline = time.monotonic() + (self._grace if grace is None else grace)
        for names in (first, last):
            for name in names:
                self._let_go(name)
            for name in names:
                self._wait(name, deadline)

    def _start(self, name: str) -> None:
        child = self._children[name]
        output = create_or_open(self.log(name), os.O_WRONLY | os.O_APPEND)
        child.log_began = os.fstat(output).st_size
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "notifier.cli", *child.arguments]
        try:
            child.keeper = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", keeper.__file__),
                    *map(str, (os.getpid(), theirs.fileno(), int(signal.SIGTERM), self._grace)),
                    *map(str, (os.geteuid(), os.getegid())),
                    *("--", *command),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs.fileno(),),
                # Ctrl-C in a terminal is for us, who then end the children in order.
                start_new_session=True,
                env=self._environment,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(output)
        child.lifeline = ours
        ours.settimeout(10)
        with ours.makefile("rb") as reader:
            word = reader.readline().strip()
        child.pid = int(word) if word.isdigit() else 0
        child.started = time.monotonic()

    def _look_after(self) -> None:
        while not self._stopping.wait(LOOK):
            for name, child in self._children.items():
                with self._lock:
                    if child.gone:
                        continue
                    if child.keeper is None:
                        if time.monotonic() >= child.due:
                            self._start(name)
                    elif (code := child.keeper.poll()) is not None:
                        self._ended(name, child, code)

    def _ended(self, name: str, child: _Child, code: int) -> None:
        self._let_go(name)
        child.keeper, child.pid = None, 0
        child.ended.append(code)
        if code == WRONG_USE or not self._restart:
            child.gone = True
            log.error("program_ended", program=name, code=code)
            return
        if time.monotonic() - child.started > SETTLED:
            child.falls = 0
        wait = BACKOFF[min(child.falls, len(BACKOFF) - 1)]
        child.falls += 1
        child.due = time.monotonic() + wait
        log.warning("program_ended", program=name, code=code, again_in=wait)

    def _let_go(self, name: str) -> None:
        child = self._children[name]
        if child.lifeline is not None:
            child.lifeline.close()
            child.lifeline = None

    def _wait(self, name: str, deadline: float) -> None:
        child = self._children[name]
        if child.keeper is None:
            return
        try:
            child.keeper.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            for pid in self.pids(name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            child.keeper.wait()
        child.ended.append(child.keeper.returncode)
        child.keeper, child.pid = None, 0


class Follower:
    """Copies what the programs log to a stream, each line with the program's name before it.

    The programs write to files and not to a pipe of ours: a pipe that breaks when we are killed
    would make them fail between a send and its record.
    """

    LARGEST = 64 << 20
    """Bytes after which a log begins anew."""

    def __init__(self, stack: Stack, write: Callable[[str], object]) -> None:
        self._files = {name: stack.log(name) for name in stack.names()}
        self._write = write
        self._read = dict.fromkeys(self._files, 0)
        self._width = max(map(len, self._files), default=0)

    def skip(self) -> None:
        """Begin at the present ends."""
        for name, path in self._files.items():
            with contextlib.suppress(FileNotFoundError):
                self._read[name] = path.stat().st_size

    def copy(self) -> None:
        """Copy the whole lines that are new."""
        for name, path in self._files.items():
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                file.seek(self._read[name])
                fresh = file.read(1 << 20)
                whole = fresh[: fresh.rfind(b"\n") + 1]
                self._read[name] += len(whole)
                for line in whole.decode(errors="replace").splitlines():
                    self._write(f"{name:{self._width}}  {line}\n")
                if self._read[name] > self.LARGEST:
                    os.truncate(path, 0)
                    self._read[name] = 0


def forked(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    parents: dict[int, list[int]] = {}
    if sys.platform == "linux":
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError, ValueError):
                    facts = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                    parents.setdefault(int(facts[1]), []).append(int(entry))
    else:
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
        )
        for line in listed.stdout.splitlines():
            child, parent = map(int, line.split())
            parents.setdefault(parent, []).append(child)
    found: list[int] = []
    look = [pid]
    while look:
        children = sorted(parents.get(look.pop(0), []))
        found += children
        look += children
    return found


def _path() -> dict[str, str]:
    """Where the children find the packages that this process uses, if those are not installed.

    Not by the working folder: a `workers` package of the user's would be taken for ours.
    """
    root = Path(__file__).resolve().parents[2]
    if root.name in {"site-packages", "dist-packages"}:
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))}
