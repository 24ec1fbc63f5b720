"""The folder of the services: its lock, its passwords and the place of its data.

lock             held while a process runs the services; its content is that process's pid
services.json    passwords and the last ports, mode 0600
postgres.log     of the present run; postgres.log.1 of the one before (the same for Valkey)
data/            belongs to the account of the servers; may be a link to a place it can reach
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from notifier.local.errors import FolderInUse, FolderUnusable
from notifier.local.files import create_or_open, is_locked, make_folder, try_lock, write_private
from notifier.local.privileges import Account, choose_account, may_enter

TEMPORARY = "notifier-local-"
ELSEWHERE = (Path("/var/lib/notifier"), Path("/var/tmp"))
"""Where root keeps the data when the servers' account can not enter the folder itself."""

SERVER_LOCKS = ("postgres.lock", "valkey.lock")


@dataclass(slots=True)
class Access:
    """How to get in. Kept, so that the addresses of a named folder are the same the next time."""

    postgres_password: str
    redis_password: str
    postgres_port: int = 0
    redis_port: int = 0


@dataclass(frozen=True, slots=True)
class Home:
    """A folder that this process holds the lock of.

    keep: false for a temporary folder, whose data need not outlive a crash.
    """

    folder: Path
    data: Path
    account: Account
    access: Access
    keep: bool

    def log(self, name: str) -> Path:
        """The log's path, after the log of the run before has been put aside."""
        path = self.folder / f"{name}.log"
        if path.exists():
            path.replace(path.with_name(path.name + ".1"))
        return path

    def remember(self) -> None:
        """Write down passwords and ports."""
        write_private(self.folder / "services.json", json.dumps(asdict(self.access), indent=2))

    def port(self, last: int) -> int:
        """A free port of the loopback interface: the last one if possible."""
        return last if last and is_free(last) else _any_port()


@contextmanager
def open_home(folder: Path | None) -> Iterator[Home]:
    """Lock the folder and make it ready; None is a temporary one, removed at the end.

    Raises FolderInUse at once when another process has it, FolderUnusable when it is not ours.
    """
    keep = folder is not None
    if folder is None:
        _remove_abandoned()
        folder = Path(tempfile.mkdtemp(prefix=TEMPORARY))
    folder = folder.expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0 and not keep:
            folder.chmod(0o711)  # mkdtemp makes it 0700; what is private in it has its own mode
        lock = create_or_open(folder / "lock", os.O_RDWR)
    except OSError as error:
        raise FolderUnusable(
            folder, f"can not be used ({error.strerror}): choose a folder of your own"
        ) from error
    try:
        if not try_lock(lock, folder / "lock"):
            raise FolderInUse(folder, os.pread(lock, 32, 0).decode().strip() or "(unknown)")
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        starter = os.getpid()
        try:
            yield _prepare(folder, keep)
        finally:
            if not keep and os.getpid() == starter:
                _discard(folder)
    finally:
        os.close(lock)


def refuse_in_use(folder: Path) -> None:
    """Raise FolderInUse where a process has the folder, which need not exist."""
    lock = folder / "lock"
    # What else is wrong with the folder is told by who opens it.
    with contextlib.suppress(OSError):
        if is_locked(lock):
            raise FolderInUse(folder, lock.read_text().strip() or "(unknown)")


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A folder to keep services' folders in, whose servers' account can enter it; removed at the
    end with all their data, wherever those had to be put.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        for home in folder.iterdir():
            if home.is_dir():
                _discard(home)
        shutil.rmtree(folder, ignore_errors=True)


def is_free(port: int) -> bool:
    """Can a server listen on this port of the loopback interface now?"""
    with socket.socket() as probe:
        # As the servers do: a connection of the last run that lingers is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _prepare(folder: Path, keep: bool) -> Home:
    link = folder / "data"
    known = os.path.lexists(link)
    # Only what exists already says whose it is; a folder of root's says nothing.
    owners = [link.stat().st_uid] if link.exists() else []
    account = choose_account([*owners, folder.stat().st_uid])
    data = _existing_data(folder, account) if known else _new_data(folder, account)
    try:
        make_folder(data / "valkey", account)
    except PermissionError as error:
        raise FolderUnusable(
            folder, f"its data belong to another user: run as that user ({data})"
        ) from error
    return Home(folder, data, account, _access(folder, data), keep)


def _existing_data(folder: Path, account: Account) -> Path:
    link = folder / "data"
    if link.is_symlink() and account.dropped and link.lstat().st_uid != 0:
        raise FolderUnusable(folder, "its link `data` was not made by root: remove it")
    data = link.resolve()
    if not data.is_dir():
        raise FolderUnusable(
            folder, f"its data were at {data}, which is gone: bring it back, or remove {link}"
        )
    if account.dropped and data.stat().st_uid != account.uid:
        raise FolderUnusable(
            folder,
            f"its data belong to user {data.stat().st_uid}, who can not run the servers: "
            f"`chown -R {account.name} {data}`",
        )
    if not may_enter(account, data):
        raise FolderUnusable(
            folder,
            f"the account {account.name}, which runs the servers, can not enter {data}: "
            "allow everybody to enter the folders above it (`chmod a+x`)",
        )
    return data


def _new_data(folder: Path, account: Account) -> Path:
    if not account.dropped or may_enter(account, folder):
        make_folder(folder / "data", account)
        return folder / "data"
    for place in ELSEWHERE:
        with contextlib.suppress(OSError):
            if not place.exists():
                place.mkdir(mode=0o711)
                place.chmod(0o711)
            if not may_enter(account, place):
                continue
            data = place / f"{folder.name}-{secrets.token_hex(6)}"
            make_folder(data, account)
            (folder / "data").symlink_to(data)
            return data
    raise FolderUnusable(
        folder,
        f"the account {account.name}, which runs the servers, can not enter it, nor can its data "
        f"be put in {' or '.join(map(str, ELSEWHERE))}: choose another folder",
    )


def _access(folder: Path, data: Path) -> Access:
    file = folder / "services.json"
    try:
        return Access(**json.loads(file.read_text()))
    except FileNotFoundError:
        if (data / "postgres").exists():
            raise FolderUnusable(
                folder, "its services.json, with the password of the data, is gone: bring it back"
            ) from None
        return Access(secrets.token_hex(24), secrets.token_hex(24))
    except (OSError, ValueError, TypeError) as error:
        raise FolderUnusable(folder, f"its services.json can not be read: {error}") from error


def _discard(folder: Path) -> None:
    link = folder / "data"
    if link.is_symlink():
        shutil.rmtree(os.readlink(link), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned() -> None:
    """Remove the temporary folders of callers that were killed: 40 MB each."""
    for folder in Path(tempfile.gettempdir()).glob(TEMPORARY + "*"):
        with contextlib.suppress(OSError):
            facts = folder.lstat()
            if facts.st_uid != os.geteuid() or time.time() - facts.st_mtime < 60:
                continue  # somebody else's, or perhaps made just now and not locked yet
            locks = [folder / "lock", *(folder / "data" / name for name in SERVER_LOCKS)]
            if not any(is_locked(lock) for lock in locks):
                _discard(folder)
