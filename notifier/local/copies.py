"""A copy of server programs that an unprivileged account can reach.

Root's virtual environment often lies below a home of mode 0700. The account that the servers
drop to can not execute anything there, so the programs and their libraries are copied once to a
place that everybody may enter and only root may write.
"""

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from notifier.local.privileges import Account, run_as

PLACES = (Path("/var/cache/notifier"), Path("/var/tmp/notifier-programs"))
"""Two, because the first may be on a read-only file system and the second mounted noexec."""


def reachable_copy(program: Path, account: Account) -> Path | None:
    """The program's copy, made if there is none yet; None when no place works.

    The copy is known by the program's path, size and time of change, so an upgrade makes a new one.
    """
    if not account.dropped:
        return None
    base, roots = _tree(program)
    facts = program.stat()
    key = hashlib.sha256(f"{program}|{facts.st_size}|{facts.st_mtime_ns}".encode()).hexdigest()
    for place in PLACES:
        try:
            _own(place)
            target = place / f"{program.name}-{key[:16]}"
            if not target.exists():
                _copy(base, roots, target)
            _own(target)
            copy = target / program.relative_to(base)
            if run_as(account, [copy, "--version"], cwd=Path("/")).returncode == 0:
                return copy
        except OSError:
            continue
    return None


def _tree(program: Path) -> tuple[Path, list[Path]]:
    """What has to be copied together, and the folder all of it is relative to.

    Wheels keep shared libraries beside the package, in `<package>.libs`, found by a path relative
    to the program; an installation keeps them in `lib` beside `bin`.
    """
    folder = program.parent
    for package in (folder, *folder.parents[:3]):
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():
            return package.parent, [package, libraries]
    if folder.name == "bin":
        parts = (folder.parent / name for name in ("bin", "lib", "lib64", "share"))
        return folder.parent, [part for part in parts if part.is_dir()]
    return folder, [program]


def _own(folder: Path) -> None:
    """Make the folder if missing; refuse one that somebody else could have prepared.

    Below /var/tmp anybody can create the name first and have root's servers run their programs.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != 0 or facts.st_mode & 0o022:
        raise PermissionError(f"{folder} has to be a folder that only root can write")


def _copy(base: Path, roots: list[Path], target: Path) -> None:
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
    try:
        for root in roots:
            place = partial / root.relative_to(base)
            if root.is_dir():
                # Headers and static libraries are a third of the size and never loaded.
                unused = shutil.ignore_patterns("include", "pgxs", "*.a", "__pycache__")
                shutil.copytree(root, place, ignore=unused)
            else:
                shutil.copy2(root, place)
        for parent, _, files in os.walk(partial):
            os.chmod(parent, 0o755)
            os.chown(parent, 0, 0)
            for name in files:
                path = Path(parent, name)
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
                os.chown(path, 0, 0)
        # Once renamed it is trusted for good: it must not be found empty after a power cut.
        os.sync()
        try:
            partial.rename(target)
        except OSError:
            if not target.is_dir():
                raise  # not merely another process that was first
    finally:
        shutil.rmtree(partial, ignore_errors=True)
