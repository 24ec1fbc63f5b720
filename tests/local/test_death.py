"""Second boots, killed callers, killed servers: nothing is left behind, and nothing is in the way."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from notifier.local import FolderInUse, boot
from tests.local.conftest import (
    LINUX,
    ROOT,
    Caller,
    ask,
    needs_proc,
    parent_of,
    wait_until_gone,
)


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
    wait_until_gone(family)
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
        assert process.stdout is not None
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
