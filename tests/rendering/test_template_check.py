"""A template's mistakes are found when it is saved."""

from typing import Any

import pytest

from notifier.rendering import check_template

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["task"],
    "properties": {
        "task": {
            "type": "object",
            "required": ["title"],
            "properties": {
                "title": {"type": "string"},
                "note": {"type": "string"},
                "steps": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}},
                    },
                },
            },
        },
        "extra": {"type": "object"},
    },
}
SAMPLE = {"task": {"title": "Ship", "note": "soon", "steps": [{"name": "pack"}]}, "extra": {"a": 1}}


def check(source: str) -> list[str]:
    return check_template({"text": source}, SCHEMA, SAMPLE)


@pytest.mark.parametrize(
    "source",
    [
        "{{ task.title }} {{ recipient.name }} {{ tenant.name }} {{ event.type }}",
        "{% for step in task.steps|default([]) %}{{ loop.index }} {{ step.name }}{% endfor %}",
        "{% set t = task %}{{ t.title }}",
        "{{ task.note|default('') }}{% if extra is defined %}{{ extra.a }}{% endif %}",
        "{% if unsubscribe_url %}{{ unsubscribe_url }}{% endif %}",
        "{% if task.title %}{% set a = 1 %}{% else %}{% set a = 2 %}{% endif %}{{ a }}",
        "{{ task['title'] }} {{ recipient.attributes.plan|default }}",
    ],
)
def test_a_sound_template_has_no_problems(source: str) -> None:
    assert check(source) == []


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ task.titel }}", "text, line 1: task.titel is not in the payload's schema"),
        ("\n{{ tsak }}", "text, line 2: tsak is not in the payload's schema"),
        ("{{ tsak|default('') }}", "text, line 1: tsak is not in the payload's schema"),
        (
            "{% for s in task.steps %}{{ s.nam }}{% endfor %}",
            "text, line 1: s.nam is not in the payload's schema",
        ),
        (
            "{% for s in task.steps %}{% endfor %}{{ s }}",
            "text, line 1: s is not in the payload's schema",
        ),
        (
            "{{ (task.steps|first).nam }}",
            "text, line 1: ….nam is not in the payload's schema",
        ),
        ("{{ recipient.nme }}", "text, line 1: recipient.nme is not in the payload's schema"),
        (
            "{{ task.note }}",
            "text, line 1: task.note is missing (with the required fields only)",
        ),
        ("{{ task.title|date }}", "text, line 1: expected a date or time in ISO 8601"),
        ("{{ task.title|dtae }}", "text, line 1: there is no filter dtae"),
    ],
)
def test_a_mistake_is_named_with_its_line(source: str, problem: str) -> None:
    problems = check(source)
    assert problems
    assert problems[0].startswith(problem)


def test_every_part_is_checked() -> None:
    problems = check_template({"subject": "{{ a }}", "html": "{{ b }}"}, SCHEMA, SAMPLE)
    assert [problem.partition(":")[0] for problem in problems] == [
        "subject, line 1",
        "html, line 1",
    ]
