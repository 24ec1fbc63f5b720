"""The HTTP API: a thin face over the same functions that Python and SQL callers use."""
