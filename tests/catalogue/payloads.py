"""Payloads of the shipped event types, made of their examples."""

from collections.abc import Callable
from typing import Any

from notifier.catalogue import EventType


def with_texts(event_type: EventType, text: Callable[[int], str]) -> Any:
    """The example with every free text replaced; `text` gets how many characters it may have."""

    def replaced(value: Any, schema: Any) -> Any:
        if isinstance(value, dict):
            return {key: replaced(inner, schema["properties"][key]) for key, inner in value.items()}
        if isinstance(value, list):
            return [replaced(inner, schema["items"]) for inner in value]
        free = isinstance(value, str) and "format" not in schema and "enum" not in schema
        return text(schema["maxLength"]) if free else value

    return replaced(event_type.example, event_type.schema)
