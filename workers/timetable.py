"""The timetable that Celery beat runs: what happens by the clock, and how often.

Every entry may be sent twice or not at all: two beats may run, and a task that missed its hour
does the whole of its work at the next. They travel on a queue that every installation consumes.
"""

from celery.schedules import crontab

from notifier import queue
from notifier.words import DispatchKind, Lane

QUEUE = queue.queue_name(DispatchKind.FAN_OUT, None, Lane.NORMAL)

TIMETABLE = {
    "partitions": {
        "task": "notifier.upkeep",
        "schedule": crontab(minute="17"),
        # What an hour-old message would do, the present one does as well.
        "options": {"queue": QUEUE, "expires": 3600},
    },
}
