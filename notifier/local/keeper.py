"""Runs one program and ends it when the process that wanted it is gone, however that died.

A program of its own, started by path and importing only the standard library before it drops
root's privileges: the account it drops to may not be able to read the interpreter's files.

    keeper.py PARENT LIFELINE STOP_SIGNAL GRACE UID GID -- COMMAND...

LIFELINE is one end of a socket pair. The server's pid is written to it; when the other end
closes, or PARENT is no longer our parent, the server is ended with STOP_SIGNAL (Postgres: SIGINT,
a fast shutdown; SIGTERM would wait for its clients), after GRACE seconds with SIGQUIT, then with
SIGKILL. The server leads a process group, and what it leaves of that is killed. Should the keeper
itself be killed, Linux sends the server STOP_SIGNAL: the parent-death signal is bound to the
thread that forked, which is why it is set here, in a process with one thread, and not in the
caller. It is set after the change of user, which would clear it.

Other open file descriptors are passed on to the server, notably its lock: that stays taken until
the last process of the server is gone.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1  # prctl(2)
HARDER = ((signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
"""What follows the stop signal, and the seconds to wait for the end."""

LOOK_FOR_PARENT = 1.0
"""Seconds. A child the parent forked holds the lifeline open, so its end can not be all we have."""


def main(arguments: list[str]) -> int:
    parent, lifeline, stop_signal, grace, uid, gid = (int(word) for word in arguments[:6])
    command = arguments[7:]
    drop(uid, gid)
    os.umask(0o077)
    os.set_inheritable(lifeline, False)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: asked.append(received))
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only to be woken

    server = start(command, stop_signal)
    with contextlib.suppress(OSError):  # the parent may be gone already: noticed below
        os.write(lifeline, f"{server}\n".encode())
    poll = select.poll()  # select itself takes no descriptor above 1023
    poll.register(lifeline, select.POLLIN)
    poll.register(wake, select.POLLIN)
    try:
        while (status := ended(server)) is None:
            if asked or os.getppid() != parent:
                return stop(server, stop_signal, grace)
            readable = {number for number, _ in poll.poll(LOOK_FOR_PARENT * 1000)}
            if lifeline in readable:
                return stop(server, stop_signal, grace)
            if wake in readable:
                os.read(wake, 512)
        return status
    finally:
        # Whoever was forked by a server that was killed would go on without it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(server, signal.SIGKILL)


def drop(uid: int, gid: int) -> None:
    if os.geteuid() == 0 and uid != 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def start(command: list[str], stop_signal: int) -> int:
    keeper = os.getpid()
    prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
    server = os.fork()
    if server != 0:
        with contextlib.suppress(OSError):  # both do it: whoever is first
            os.setpgid(server, server)
        return server
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)
            if os.getppid() != keeper:  # it died before the line above
                os._exit(1)
        # Ignored signals outlive exec: Python ignores SIGPIPE, a background shell job SIGINT.
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execv(command[0], command)
    except BaseException as error:
        os.write(2, f"{command[0]} could not be started: {error}\n".encode())
    finally:
        os._exit(127)


def ended(server: int) -> int | None:
    pid, status = os.waitpid(server, os.WNOHANG)
    return None if pid == 0 else os.waitstatus_to_exitcode(status) & 0xFF


def stop(server: int, stop_signal: int, grace: float) -> int:
    for number, seconds in ((stop_signal, grace), *HARDER):
        os.kill(server, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (status := ended(server)) is not None:
                return status
            time.sleep(0.01)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
