"""What a boot gives: two servers that answer, with their data, addresses and durability."""

import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from notifier.local import Services, boot
from notifier.local import home as local_home
from tests.local.conftest import ask, is_alive, needs_proc, parent_of, valkey


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


def test_a_process_with_many_open_files_boots(folder: Path) -> None:
    """A descriptor above 1023 is no reason to fail, nor for its keeper to end at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"no more than {hard} files may be open here")
    with contextlib.ExitStack() as cleanup:
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            cleanup.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        descriptor = 0
        while descriptor < 1050:
            descriptor = os.open(os.devnull, os.O_RDONLY)
            cleanup.callback(os.close, descriptor)
        with boot(folder) as services:
            assert ask(services, "SELECT 1") == 1
            assert is_alive(services.postgres_pid)
