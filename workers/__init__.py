"""The processes that do the work: Celery workers, the relay and the timetable."""
