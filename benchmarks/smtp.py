"""E-mail over SMTP, from queued to `sent`, against Postfix's smtp-source into the same sink.

With Postfix's tools the sink is its smtp-sink, for both sides. Without them there is a sink of our
own, and the baseline is a bare loop of Python's smtplib; the result says which it was.
"""

import os
import shutil
import smtplib
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from typing import Any

from benchmarks import load
from benchmarks.bench import CONCURRENCY, Bench, Result, ToolMissing, bench, result
from benchmarks.sinks import free_port, sink

RECIPIENTS = 20_000
CONNECTIONS = 4
SESSIONS = CONCURRENCY * CONNECTIONS
"""Connections to the sink, on both sides."""

MESSAGE_BYTES = 1300
"""What one of our messages of this benchmark has, headers included."""


def tool(name: str) -> str | None:
    """Where one of Postfix's programs is; it installs them outside of an ordinary PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/libexec")


@contextmanager
def smtp_sink(program: str) -> Iterator[int]:
    """Postfix's sink on a free port."""
    port = free_port()
    # It refuses to stay root.
    who = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [program, *who, f"127.0.0.1:{port}", "1000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            try:
                smtplib.SMTP("127.0.0.1", port, timeout=5).quit()
                break
            except OSError:
                time.sleep(0.05)
        else:
            raise ToolMissing(f"{program} does not answer")
        yield port
    finally:
        process.kill()
        process.wait()


def source(program: str, port: int, count: int) -> float:
    """Messages a second from smtp-source over as many kept sessions as ours."""
    started = time.monotonic()
    subprocess.run(
        [
            *(program, "-d", "-s", str(SESSIONS), "-m", str(count), "-l", str(MESSAGE_BYTES)),
            *("-f", "bench@example.com", "-t", "r@example.com", f"127.0.0.1:{port}"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return count / (time.monotonic() - started)


def plain_loop(ready: Barrier, port: int, count: int) -> None:
    """A bare sender: one connection, one message after another."""
    client = smtplib.SMTP("127.0.0.1", port)
    body = b"Subject: bench\r\n\r\n" + b"x" * 78 + b"\r\n"
    message = body * (MESSAGE_BYTES // len(body))
    ready.wait(60)
    for _ in range(count):
        client.sendmail("bench@example.com", ["r@example.com"], message)
    client.quit()


def plain(port: int, count: int) -> float:
    """Messages a second from as many bare senders as our worker has processes."""
    began, done = load.produce(plain_loop, [(port, count // CONCURRENCY)] * CONCURRENCY)
    return count / (done - began)


def environment(port: int) -> dict[str, Any]:
    return {
        "NOTIFIER_SMTP_HOST": "127.0.0.1",
        "NOTIFIER_SMTP_PORT": str(port),
        "NOTIFIER_SMTP_SECURITY": "none",
        "NOTIFIER_SMTP_FROM": "Bench <bench@example.com>",
        "NOTIFIER_SMTP_CONNECTIONS": str(CONNECTIONS),
    }


def measured(running: Bench, port: int) -> float:
    return load.drain(running, "*=null,email=smtp", **environment(port))


def run(runs: int) -> Result:
    """Messages a second of both; every run drains a fresh campaign."""
    from_, into = tool("smtp-source"), tool("smtp-sink")
    figures = []
    with bench() as running:
        load.register_types(running)
        tenant = load.tenant(running, RECIPIENTS)
        for _ in range(runs):
            load.queued(load.MAIL, tenant)
            if from_ and into:
                with smtp_sink(into) as port:
                    baseline = source(from_, port, RECIPIENTS)
                    figure = measured(running, port)
            else:
                with sink("smtp") as own:
                    baseline = plain(own.port, RECIPIENTS)
                    before = own.taken()
                    figure = measured(running, own.port)
                    own.expect(before + RECIPIENTS)
            figures.append({"figure": figure, "baseline": baseline, "ratio": figure / baseline})
        running.check()
        load.all_sent(running, RECIPIENTS * runs)
    against = (
        "smtp-source into smtp-sink, messages/s"
        if from_ and into
        else "smtplib loop into our own sink, messages/s (smtp-source is not installed)"
    )
    return result("smtp", "deliveries/s", against, figures)
