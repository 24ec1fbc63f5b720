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
