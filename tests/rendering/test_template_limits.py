"""What a hostile template can not do: reach Python, fill the memory, or never end."""

import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.rendering import RenderError, compile_template


def refused(source: str, **context: Any) -> str:
    started = time.thread_time()
    with pytest.raises(RenderError) as caught:
        compile_template({"text": source}).render(context)
    assert time.thread_time() - started < 1
    return str(caught.value)


class Account:
    """Something that should never be in a context, and gives nothing away if it is."""

    token = "s3cret"

    def close(self) -> None:
        raise AssertionError("a template called a method")


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''['__class__'] }}",
        "{{ x|attr('__class__') }}",
        "{{ [x]|map(attribute='__class__')|join }}",
        "{{ rows|map(attribute='title.__class__')|join }}",
        "{{ rows|sort(attribute='__class__')|join }}",
        "{{ account }}",
        "{{ 'a' ~ account }}",
        "{{ account.token }}",
        "{{ account['token'] }}",
        "{{ account.close() }}",
        "{{ rows.append(1) }}",
        "{{ d.update(a=1) }}",
        "{{ d.items() }}",
        "{{ '{0.__class__}'.format(x) }}",
        "{{ '%s'|format(x) }}",
        "{{ self }}",
        "{{ self.x() }}",
        "{{ range.__init__ }}",
        "{{ range|attr('x') }}",
        "{% for a in [1] %}{{ loop.__init__ }}{% endfor %}",
        "{% for a in [1] %}{{ loop._iterator }}{% endfor %}",
        "{% for a in [1] %}{{ loop.changed(1) }}{% endfor %}",
        "{% for a in [[1]] recursive %}{{ loop(a) }}{% endfor %}",
        "{{ cycler('a') }}",
        "{{ lipsum(n=1000) }}",
        "{{ namespace() }}",
        "{{ dict(a=1) }}",
        "{{ joiner() }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{% block a %}{% endblock %}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set big %}{{ x }}{% endset %}",
        "{% filter upper %}x{% endfilter %}",
        "{{ range(*rows) }}",
        "{{ x|random }}",
        "{{ x|center(9) }}",
        "{{ x|counted }}",
        "{{ x|joined }}",
        "{{ x is callable }}",
    ],
)
def test_what_reaches_beyond_plain_data_is_refused(source: str) -> None:
    said = refused(source, x="x", rows=[{"title": "a"}], d={"a": 1}, account=Account())
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10**9 }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 1000000000 * 'x' }}",
        "{{ rows * 1000000000 }}",
        "{{ 9**9**9 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ x|round(999999999, 'ceil') }}",
        "{{ x|round(999999999) }}",
        "{{ range(10**9) }}",
        "{{ range(1000000000)|list }}",
        "{% set x = 'aaaaaaaaaaaaaaaa' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}",
        "{% set x = 'aaaaaaaaaaaaaaaa' %}" + "{% set x = x + x %}" * 40 + "{{ x }}",
        "{% set x = 9 %}" + "{% set x = x * x %}" * 40 + "{{ x }}",
        "{% set x = ['a'] %}" + "{% set x = [x, x] %}" * 40 + "{{ x|length }}",
        "{% set x = ['a'] %}" + "{% set x = x + x %}" * 40 + "{{ x|length }}",
        "{% set x = '\"' %}" + "{% set x = x|tojson %}" * 40 + "{{ x }}",
        "{% set x = 'aaaaaaaaaaaaaaaa' %}" + "{% set x = x|replace('a', x) %}" * 40 + "{{ x }}",
        "{{ range(1000)|join(big) }}",
        "{% for a in range(1000) %}{{ big }}{% endfor %}",
        "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}",
        "{% for a in range(1000) %}{% for b in range(1000) %}{{ a }}{% endfor %}{% endfor %}",
        "{% for a in range(1000) %}{% for b in range(1000) %}{% set c = big|upper|lower %}"
        "{% endfor %}{% endfor %}",
        "{% for a in range(1000) if a < 0 %}{% endfor %}" * 50,
        "{% if x %}" * 200 + "{% endif %}" * 200,
        "{{ " + "(" * 500 + "x" + ")" * 500 + " }}",
        "{{ x" + "|upper" * 5000 + " }}",
        "{{ x }}" * 10_000,
        "x" * 1_000_000,
    ],
)
def test_what_would_take_forever_or_all_memory_is_refused_within_a_second(source: str) -> None:
    tracemalloc.start()
    try:
        refused(source, x=1.5, rows=[1, 2, 3], big="y" * 10_000)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def test_a_refusal_to_loop_says_what_the_limit_is() -> None:
    source = "{% for a in range(1000) %}{% for b in range(99) %}{% endfor %}{% endfor %}"
    assert "20000 turns" in refused(source)


def test_all_parts_share_one_budget() -> None:
    loop = "{% for a in range(900) %}{% for b in range(20) %}{% endfor %}{% endfor %}"
    compile_template({"text": loop}).render({})
    with pytest.raises(RenderError, match="turns"):
        compile_template({"text": loop, "html": loop}).render({})


def test_a_subject_beyond_the_limit_of_a_header_line_is_refused() -> None:
    template = compile_template({"subject": "{{ x }}"})
    assert template.render({"x": "y" * 998})["subject"]
    with pytest.raises(RenderError, match="998"):
        template.render({"x": "y" * 999})


def test_ordinary_loops_arithmetic_and_lists_work() -> None:
    source = (
        "{% for row in rows if row.n > 1 %}{{ loop.index }}/{{ loop.length }} "
        "{{ loop.cycle('a', 'b') }} {{ row.n * 2 - 1 }}{{ ', ' if not loop.last }}"
        "{% else %}none{% endfor %}"
        " {{ rows | map(attribute='n') | sum }} {{ 'b' in ['a', 'b'] }} {{ 7 // 2 }}"
        " {{ 'x' + 'y' }}"
        " {{ {'a': 'Alpha'}['a'] }} {% for k, v in d | items %}{{ k }}={{ v }}{% endfor %}"
    )
    rendered = compile_template({"text": source}).render(
        {"rows": [{"n": 1}, {"n": 2}, {"n": 3}], "d": {"k": 1}}
    )
    assert rendered["text"] == "1/2 a 3, 2/2 b 5 6 True 3 xy Alpha k=1"


_ATOMS = ["x", "rows", "d", "d.a", "'lit'", "3", "big", "nope", "rows[0]", "loop"]
_OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "=="]
_FILTERS = [
    *["upper", "join", "tojson", "list", "length", "default", "sum", "sort", "items", "first"],
    *["date", "round", "e", "urlencode", "link", "replace('a', 'b')", "truncate(3)"],
    *["map('upper')", "money('EUR')", "map(attribute='a')", "selectattr('a')"],
]
_FIELDS = ["a", "items", "__class__", "index"]
_EXPRESSIONS = st.recursive(
    st.sampled_from(_ATOMS),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(_OPERATORS), inner),
        st.builds("{}|{}".format, inner, st.sampled_from(_FILTERS)),
        st.builds("{}.{}".format, inner, st.sampled_from(_FIELDS)),
        st.builds("[{}, {}]".format, inner, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=1000)
@given(expression=_EXPRESSIONS, part=st.sampled_from(["text", "html", "subject"]))
def test_any_expression_renders_or_is_refused_without_the_payload(
    expression: str, part: str
) -> None:
    source = "{% for y in rows %}{{ " + expression + " }}{% endfor %}"
    context = {"x": "s3cret", "rows": [1, 2], "d": {"a": "s3cret"}, "big": "s3cret" * 999}
    said = ""
    try:
        assert isinstance(compile_template({part: source}).render(context)[part], str)
    except RenderError as error:
        said = str(error)
    assert "s3cret" not in said
