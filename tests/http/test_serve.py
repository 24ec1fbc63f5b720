"""The API as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

from tests.conftest import Database

RUN = "from notifier.http.serve import serve\nfrom notifier.settings import settings\nserve(settings())"

TOLD_AT = """
import os, signal, uvicorn
from notifier.http import serve
from notifier.settings import settings

def told_first(what):
    def tell(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return what(*arguments)
    return tell

{place} = told_first({place})
serve.serve(settings())
"""


def test_the_api_refuses_what_workers_refuse(database: Database) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "notifier.cli", "api"],
        env={**os.environ, "NOTIFIER_PROVIDERS": "email=smpt"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("notifier: NOTIFIER_PROVIDERS: expected email= one of")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_server_ends_in_order(
    database: Database, session: requests.Session, stop: signal.Signals
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        **os.environ,
        "NOTIFIER_DATABASE_URL": database.api_url,
        "NOTIFIER_HTTP_PORT": str(port),
    }
    with subprocess.Popen(
        [sys.executable, "-c", RUN], env=variables, stderr=subprocess.PIPE
    ) as process:
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    ready = session.get(f"http://127.0.0.1:{port}/readyz", timeout=5)
                    break
                except requests.ConnectionError:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            assert ready.status_code == 200
            process.send_signal(stop)
            _, told = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0
    lines = [line for line in told.decode().splitlines() if line]
    assert len(lines) == 1
    assert '"route": "/readyz"' in lines[0]


@pytest.mark.parametrize(
    ("place", "code"),
    [("serve.make_app", -signal.SIGTERM), ("uvicorn.Server.run", 0)],
)
def test_a_server_told_to_stop_while_it_starts_ends(
    database: Database, place: str, code: int
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = subprocess.run(
        [sys.executable, "-c", TOLD_AT.format(place=place)],
        env={
            **os.environ,
            "NOTIFIER_DATABASE_URL": database.api_url,
            "NOTIFIER_HTTP_PORT": str(port),
        },
        timeout=60,
    )
    assert told.returncode == code
