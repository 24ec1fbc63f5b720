"""The long-running processes: `notifier worker`, `relay`, `beat` and `api`."""

import os
import signal
import warnings
from collections.abc import Iterable

import click

from notifier.cli.failures import wrong_use


def warn_of_unread() -> list[str]:
    """Log a warning of the `NOTIFIER_…` variables that nothing reads, if there are any."""
    from notifier import log
    from notifier.doctor import unread

    mends = unread(os.environ)
    if mends:
        log.logger("settings").warning("settings_unread", mend=mends)
    return list(mends)


@click.command()
@click.option("-Q", "--queues", help="Names of queues, separated by commas.")
@click.option("--channels", help="Only these channels (email,sms); fan_out, receive too.")
@click.option("--lanes", help="Only these lanes (critical,normal,bulk).")
@click.option("-c", "--concurrency", type=click.IntRange(1, 512), help="Processes; default: cores.")
@click.option("--name", help="The worker's name in Celery; default: by its process id.")
def worker(
    queues: str | None,
    channels: str | None,
    lanes: str | None,
    concurrency: int | None,
    name: str | None,
) -> None:
    """Claim and send what is rung on the queues: all of them, unless told which."""
    chosen = choose_queues(queues, channels, lanes)
    from celery.exceptions import SecurityWarning

    from notifier import log
    from notifier.settings import settings

    settings()
    log.configure()
    warn_of_unread()
    # It is about pickle, which is refused here, and about containers, which have one user.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    from celery.apps import worker as celery_worker

    from workers.app import app, make_worker

    # Bare text among the structured logs; what it says is logged by the application.
    celery_worker.safe_say = lambda *_, **__: None

    # Where Celery would print a traceback and go on.
    make_worker().check()
    app.worker_main(
        [
            *("--quiet", "worker", "--loglevel", "WARNING"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            *("-n", f"{name or f'worker-{os.getpid()}'}@%h"),
            *("-c", str(concurrency or os.cpu_count() or 1)),
            *("-Q", ",".join(chosen)),
        ]
    )


def choose_queues(queues: str | None, channels: str | None, lanes: str | None) -> list[str]:
    """The queues to consume; ends the command where one is unknown, naming the known ones."""
    from notifier import queue
    from notifier.words import Channel, DispatchKind, Lane

    known = queue.queue_names()
    if queues is not None:
        if channels is not None or lanes is not None:
            wrong_use("--queues names the queues themselves: leave out --channels and --lanes")
        return _pick("queue", queues, known)
    every = [str(DispatchKind.FAN_OUT), str(DispatchKind.RECEIVE), *Channel]
    kinds = _pick("channel", channels, every) if channels else every
    some = _pick("lane", lanes, list(Lane)) if lanes else list(Lane)
    return [name for name in known if name.split(".")[1] in kinds and name.split(".")[2] in some]


def _pick(what: str, words: str, known: Iterable[str]) -> list[str]:
    listed = [str(word) for word in known]
    chosen = [word.strip() for word in words.split(",") if word.strip()]
    for word in chosen:
        if word not in listed:
            wrong_use(f"unknown {what} {word!r}; known are: {', '.join(listed)}")
    if not chosen:
        wrong_use(f"name at least one {what}: {', '.join(listed)}")
    return chosen


@click.command()
def relay() -> None:
    """Pack what is due in Postgres and ring it on its queue, until told to stop."""
    from notifier import log
    from notifier import relay as relaying
    from notifier.queue import redis_url
    from notifier.settings import settings
    from notifier.store.engine import pool

    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: told.append(received))
    log.configure()
    warn_of_unread()
    # A missing address is told now, not once a second.
    pool()
    redis_url()
    relaying.run(settings(), lambda: bool(told))


@click.command()
def beat() -> None:
    """Send the tasks of the timetable when they are due."""
    from notifier import log
    from notifier.settings import settings

    settings()
    log.configure()
    warn_of_unread()
    from workers.app import app

    app.Beat(quiet=True, loglevel="WARNING").run()


@click.command()
@click.option("--host", help="Default: NOTIFIER_HTTP_HOST.")
@click.option("--port", type=click.IntRange(1, 65535), help="Default: NOTIFIER_HTTP_PORT.")
def api(host: str | None, port: int | None) -> None:
    """Serve the HTTP API and the links in messages."""
    from notifier import log
    from notifier.settings import settings

    log.configure()
    warn_of_unread()
    from notifier.http.serve import serve

    chosen = {
        name: value
        for name, value in (("http_host", host), ("http_port", port))
        if value is not None
    }
    serve(settings().model_copy(update=chosen))
