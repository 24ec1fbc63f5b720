"""Whom the servers run as: the caller, or an unprivileged account when the caller is root.

Postgres refuses to run as root, and nothing that listens on a socket should. No account is ever
created: an existing one is borrowed.
"""

import errno
import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from notifier.local.errors import NoAccount

PREFERRED = ("postgres", "_postgres", "nobody", "daemon")
"""`postgres` first: `nobody` may be shared with other services, which could then read the data."""

KEPT = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "NSS_WRAPPER_PASSWD", "NSS_WRAPPER_GROUP")
"""What the servers need of the caller's environment (the last three: containers whose user has
no name)."""


@dataclass(frozen=True, slots=True)
class Account:
    """The ids of the server processes.

    dropped: the caller is root and the servers are not, so every path has to be checked.
    """

    uid: int
    gid: int
    name: str
    dropped: bool


def choose_account(owners: Sequence[int] = ()) -> Account:
    """The caller itself or, for root, the first of `owners` that is not root, else a known account.

    owners: uids that already own the place of the data, so that it stays theirs.
    Raises NoAccount when root finds none.
    """
    if (uid := os.geteuid()) != 0:
        return Account(uid, os.getegid(), _name(uid) or str(uid), dropped=False)
    for owner in owners:
        # initdb looks its own user up and gives up on a number without a name.
        if owner != 0 and _name(owner):
            return _dropped(pwd.getpwuid(owner))
    for name in PREFERRED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return _dropped(entry)
    raise NoAccount(
        f"as root the servers run as one of {', '.join(PREFERRED)}, and /etc/passwd has none "
        "of them: add one, or start as a plain user"
    )


def require_a_name(account: Account) -> None:
    """Raises NoAccount when initdb would fail because the user id has no name."""
    if not _name(account.uid):
        raise NoAccount(
            f"user id {account.uid} has no name in /etc/passwd and PostgreSQL's initdb needs one: "
            "add an entry, preload libnss_wrapper, or run as a user that has a name"
        )


def run_as(
    account: Account, command: Sequence[str | Path], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a short command as the account, without the caller's environment and secrets.

    The ids change in C between fork and exec, so this is safe in a process with threads.
    Raises OSError when the program can not be executed by the account.
    """
    try:
        return subprocess.run(
            [str(word) for word in command],
            user=account.uid if account.dropped else None,
            group=account.gid if account.dropped else None,
            extra_groups=[] if account.dropped else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment(),
            cwd=cwd,
            umask=0o077,
        )
    except OSError as error:
        if account.dropped and error.errno in (errno.EPERM, errno.EINVAL):
            raise NoAccount(
                f"this process is root but may not become {account.name} "
                "(a container with one user?): start as a plain user"
            ) from error
        raise


def may_enter(account: Account, folder: Path) -> bool:
    """Can the account reach the folder? Asked of the kernel, because mode bits are not all."""
    return run_as(account, ["/bin/sh", "-c", 'test -x "$1"', "sh", folder]).returncode == 0


def environment(source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """A small environment for the servers.

    Small because PG… variables of the caller would change what the programs do, and because
    other processes of a shared account can read it. UTC also spares initdb its search for the
    machine's time zone.
    """
    kept = {name: source[name] for name in KEPT if name in source}
    return {"PATH": os.defpath, **kept, "LC_ALL": "C", "TZ": "UTC"}


def _dropped(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name, dropped=True)


def _name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
