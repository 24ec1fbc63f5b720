"""The Celery application: its queues come from the channels and lanes, its tasks from `tasks`."""

import gc
import mmap
import os
from typing import Any

from billiard import current_process
from celery import Celery
from celery.signals import (
    setup_logging,
    worker_init,
    worker_process_init,
    worker_ready,
    worker_shutting_down,
)

from notifier import log, queue
from notifier.channels import registry
from notifier.settings import settings
from notifier.slowness import Slowness
from notifier.worker import Worker
from workers import broker, intake
from workers.timetable import TIMETABLE

broker.mend()
intake.guard()
app = Celery("notifier", broker=queue.redis_url(), include=["workers.tasks"])
app.conf.update(
    task_queues=[queue.direct(name) for name in queue.queue_names()],
    task_default_queue="notifier.unrouted",
    task_create_missing_queues=False,
    accept_content=["json"],
    task_serializer="json",
    # Acknowledged after the work, though nothing rests on it: what a worker had in hand when it
    # died is found by its lease, not by its message.
    task_acks_late=True,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    worker_prefetch_multiplier=1,
    # A second copy of a message finds the dispatch claimed, so a lost connection is no reason to
    # kill what is being sent.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_soft_shutdown_timeout=30.0,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options=queue.TRANSPORT_OPTIONS,
    beat_schedule=TIMETABLE,
    # In memory: an entry that was missed does its whole work the next time, and two beats
    # have no file to share.
    beat_scheduler="celery.beat:Scheduler",
)

# One byte that the parent and its forked children share: the parent hears the signal to stop,
# the children do the sending.
_stop = mmap.mmap(-1, 1)
_slowness = Slowness()
_process: dict[str, Worker] = {}


def stopping() -> bool:
    """Whether this worker was asked to stop."""
    return _stop[0] != 0


def worker() -> Worker:
    """What this process sends with; made at its first task where no pool forked it."""
    if "worker" not in _process:
        _process["worker"] = make_worker()
    return _process["worker"]


def make_worker() -> Worker:
    """A worker with the providers that the environment configures."""
    return Worker(registry.choose(os.environ), settings(), stopping, slowness=_slowness)


@setup_logging.connect
def _configure_logs(**_: Any) -> None:
    log.configure()


@worker_init.connect
def _check_settings(**_: Any) -> None:
    # Before any child is forked: a wrong setting stops the start, it does not fail every task.
    make_worker().check()


@worker_process_init.connect
def _open_process(**_: Any) -> None:
    # What was imported is never garbage, and a chunk makes tens of thousands of objects that all
    # go at once: looking through either over and over took a tenth of a worker's time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)
    _slowness.take_place(current_process().index)
    _process["worker"] = make_worker()


@worker_ready.connect
def _tell_ready(**_: Any) -> None:
    log.logger("worker").info("worker_ready")


@worker_shutting_down.connect
def _tell_children(how: str = "", **_: Any) -> None:
    _stop[0] = 1
    log.logger("worker").info("worker_stopping", how=how)
