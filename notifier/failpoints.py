"""Places at which a test may stop a running process, exactly there; off unless a test says so.

NOTIFIER_FAILPOINTS names a folder. A file in it with the name of a place arms that place, in every
process that was started with the variable, and holds what is to happen and at which of that
process's passes: `kill 3` (SIGKILL to itself at the third), `stop 1` (SIGSTOP). It happens once:
whoever comes first renames the file to `<place>.reached`, which is also how the test knows.
"""

import os
import signal

FOLDER = "NOTIFIER_FAILPOINTS"

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}

_folder = os.environ.get(FOLDER) or None
_passes: dict[str, tuple[int, int]] = {}
"""Passes of each armed place, and the file (by inode) that they are counted for."""


def reach(place: str) -> None:
    """Pass a place; returns at once unless a test has armed it."""
    if _folder is not None:
        _pass(os.path.join(_folder, place), place)


def _pass(file: str, place: str) -> None:
    try:
        with open(file, encoding="ascii") as armed:
            inode = os.fstat(armed.fileno()).st_ino
            action, _, wanted = armed.read().partition(" ")
    except FileNotFoundError:
        return
    counted_for, passes = _passes.get(place, (inode, 0))
    passes = passes + 1 if counted_for == inode else 1
    _passes[place] = (inode, passes)
    if passes < int(wanted or 1):
        return
    try:
        os.rename(file, f"{file}.reached")
    except FileNotFoundError:
        return  # another process was first
    os.kill(os.getpid(), _SIGNALS[action])
