"""Where a benchmark's processor time goes, by the process that spent it."""

import threading
import time
from collections import defaultdict

import psutil

SAMPLE = 0.05
"""Seconds between two looks; what a process spends after the last one before it ends is missed."""

ROLES = (
    ("postgres", "postgres"),
    ("valkey", "valkey"),
    ("cli worker", "worker"),
    ("cli relay", "relay"),
    ("cli api", "api"),
    ("cli beat", "beat"),
    ("benchmarks.sinks", "sink"),
    ("smtp-sink", "sink"),
    ("smtp-source", "baseline"),
    ("spawn_main", "producers"),
)
"""What a command line holds, and the role that makes it."""


class Profile:
    """Samples this process and all below it while it is open."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, float], tuple[str, float]] = {}
        self._before: dict[tuple[int, float], float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="profile", daemon=True)

    def __enter__(self) -> "Profile":
        self._look()
        self._before = {key: spent for key, (_, spent) in self._seen.items()}
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE):
            self._look()

    def _look(self) -> None:
        us = psutil.Process()
        for process in [us, *us.children(recursive=True)]:
            try:
                key = (process.pid, process.create_time())
                times = process.cpu_times()
                role = self._seen[key][0] if key in self._seen else _role(process, us)
            except psutil.Error:
                continue
            if role is not None:
                self._seen[key] = (role, times.user + times.system)

    def lines(self) -> list[str]:
        """A table of roles, seconds and shares."""
        seconds = self.seconds()
        total = sum(seconds.values()) or 1.0
        return [f"    {role:12} {s:8.2f} s {s / total:6.1%}" for role, s in seconds.items()]

    def seconds(self) -> dict[str, float]:
        """Processor seconds by role, the greatest first."""
        spent: defaultdict[str, float] = defaultdict(float)
        for key, (role, seconds) in self._seen.items():
            spent[role] += seconds - self._before.get(key, 0.0)
        ranked = sorted(spent.items(), key=lambda item: -item[1])
        return {role: seconds for role, seconds in ranked if seconds > 0.005}


def _role(process: psutil.Process, us: psutil.Process) -> str | None:
    """Its own command line, or its parent's: a pool's children are forked. None while unknown."""
    if process.pid == us.pid:
        return "benchmark"
    looked: psutil.Process | None = process
    while looked is not None and looked.pid != us.pid:
        command = " ".join(looked.cmdline())
        for part, role in ROLES:
            if part in command:
                return role
        looked = looked.parent()
    # Between fork and exec it still looks like us.
    return None if time.time() - process.create_time() < 1 else "other"
