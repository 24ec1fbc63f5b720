"""Opening, locking and replacing the small files of the services' folder."""

import contextlib
import fcntl
import os
from pathlib import Path

from notifier.local.errors import FolderUnusable
from notifier.local.privileges import Account


def create_or_open(path: Path, flags: int, owner: Account | None = None) -> int:
    """A descriptor of the file, created with mode 0600 for `owner` (default: the caller).

    Links are refused: root may work in a folder that belongs to somebody else, who could have
    it write to any file of the machine.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if owner is not None and owner.dropped:
        os.fchown(descriptor, owner.uid, owner.gid)
    return descriptor


def write_private(path: Path, text: str, owner: Account | None = None) -> None:
    """Replace the file's content in one step, mode 0600."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = create_or_open(fresh, os.O_WRONLY | os.O_EXCL, owner)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def make_folder(path: Path, owner: Account, mode: int = 0o700) -> None:
    """The folder, created for `owner` unless it exists."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, mode)
            if owner.dropped:
                os.fchown(descriptor, owner.uid, owner.gid)
        finally:
            os.close(descriptor)


def try_lock(descriptor: int, path: Path) -> bool:
    """Take the exclusive lock of the open file, or return False at once.

    flock, not fcntl: it belongs to the open file, so a child process inherits it, and a second
    open file of the same process is refused too.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise FolderUnusable(
            path,
            f"this file system has no locks ({error.strerror}): choose a folder on a local disk",
        ) from error
    return True


def is_locked(path: Path) -> bool:
    """Does some process hold the lock of this file? A file that is missing is not locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(descriptor, path)
    finally:
        os.close(descriptor)
