"""Run the API until it is told to stop."""

import signal
from contextlib import suppress

import uvicorn

from notifier import log
from notifier.http.app import make_app
from notifier.settings import Settings
from notifier.store.engine import pool

STOP_SECONDS = 20
"""How long requests under way may take to end once the process is told to stop."""


def config(settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the API: no header that names it, no log of its own for requests."""
    return uvicorn.Config(
        make_app(),
        host=settings.http_host,
        port=settings.http_port,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        timeout_keep_alive=30,
        backlog=1024,
    )


def serve(settings: Settings) -> None:
    """Listen on the settings' host and port; returns after SIGTERM or SIGINT. Main thread only."""
    log.configure()
    # A wrong database URL is an error now, not at the first request.
    pool()
    server = uvicorn.Server(config(settings))

    def stop(*_: object) -> None:
        server.should_exit = True

    # Until here the signal's own action ends the process, and from here on it is never lost: also
    # not before uvicorn listens to it. Once it has stopped, uvicorn raises it again for whoever
    # handled it before: unhandled, an orderly stop would end as a process that was killed.
    signal.signal(signal.SIGTERM, stop)
    try:
        with suppress(KeyboardInterrupt):
            server.run()
    finally:
        pool().dispose()
