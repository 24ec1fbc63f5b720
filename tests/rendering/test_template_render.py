"""What a rendered template looks like, and how a failing one explains itself."""

from typing import Any

import pytest

from notifier.rendering import RenderError, compile_template, sample_context


def text(source: str, **context: Any) -> str:
    return compile_template({"text": source}).render(context)["text"]


def refusal(source: str, part: str = "text", **context: Any) -> RenderError:
    with pytest.raises(RenderError) as caught:
        compile_template({part: source}).render(context)
    return caught.value


def test_each_part_is_rendered_with_the_same_payload() -> None:
    template = compile_template({"subject": "{{ n }} new", "text": "There are {{ n }}.\n"})
    assert template.render({"n": 3}) == {"subject": "3 new", "text": "There are 3."}


def test_html_is_escaped_and_plain_text_is_not() -> None:
    template = compile_template({"text": "{{ x }}", "html": "<p>{{ x }}</p>"})
    assert template.render({"x": '<script>&"'}) == {
        "text": '<script>&"',
        "html": "<p>&lt;script&gt;&amp;&#34;</p>",
    }


def test_joining_texts_does_not_lose_the_escaping() -> None:
    template = compile_template({"html": "{{ 'a' ~ x }}{{ [' '] | join }}{{ xs | join('<') }}"})
    assert template.render({"x": "<b>", "xs": ["<i>", "&"]})["html"] == (
        "a&lt;b&gt; &lt;i&gt;&lt;&amp;"
    )


@pytest.mark.parametrize("part", ["subject", "title"])
def test_a_headline_is_one_line_whatever_the_payload_holds(part: str) -> None:
    rendered = compile_template({part: "Re: {{ x }}\n"}).render(
        {"x": "a\r\nBcc: all@example.com\x00\x0bz\u2028\u0085end \t."}
    )
    assert rendered[part] == "Re: a Bcc: all@example.com z end ."


def test_a_joined_emoji_survives_in_a_subject() -> None:
    assert compile_template({"subject": "{{ x }}"}).render({"x": "👩‍👧 hi"})["subject"] == "👩‍👧 hi"


def test_a_field_called_items_is_the_field() -> None:
    assert text("{{ order.items | length }} {{ order.keys }}", order={"items": [1], "keys": 2}) == (
        "1 2"
    )


def test_null_prints_nothing_and_a_list_is_not_printed_in_python_notation() -> None:
    assert text("<{{ x }}>", x=None) == "<>"
    assert "printed a list" in str(refusal("{{ x }}", x=["secret"]))


def test_a_missing_variable_is_named_with_its_part_and_line() -> None:
    error = refusal("Hello\n{% if True %}\n{{ task.titel }}\n{% endif %}", task={"title": "Ship"})
    assert (error.part, error.line) == ("text", 3)
    assert str(error) == "text, line 3: task.titel is missing"


def test_what_is_missing_first_is_named() -> None:
    assert "a.b is missing" in str(refusal("{{ a.b.c.d }}", a={}))
    assert "x is missing" in str(refusal("{% for y in x.list %}{% endfor %}"))
    assert "x is missing" in str(refusal("{{ 1 + x }}"))
    assert "row.name is missing" in str(
        refusal("{% for row in rows %}{{ row.name }}{% endfor %}", rows=[{}])
    )


SECRET = "bob@example.com"


@pytest.mark.parametrize(
    "source",
    [
        "{{ prices[x] }}",
        "{{ x + 1 }}",
        "{{ x | round }}",
        "{{ x | date }}",
        "{{ x | money('EUR') }}",
        "{{ x | link }}",
        "{{ 1 | money('EUR') | date(x) }}",
        "{{ [1] | map(attribute=x) | join }}",
        "{{ [1] | sort(attribute=x) | join }}",
        "{{ range(x) }}",
        "{{ 3 is divisibleby x }}",
        "{{ prices | selectattr('a', x) | list }}",
        "{{ x | number }}",
    ],
)
def test_no_value_of_the_payload_is_in_an_error_or_behind_it(source: str) -> None:
    error = refusal(source, x=SECRET, prices={})
    assert SECRET not in str(error)
    assert error.__context__ is None
    assert error.__cause__ is None


def test_a_syntax_error_names_part_and_line() -> None:
    with pytest.raises(RenderError, match=r"html, line 2: .*endfor"):
        compile_template({"subject": "fine", "html": "\n{% endfor %}"})


def test_an_inline_condition_without_else_prints_nothing() -> None:
    assert text("a{{ ', b' if x|default }}.") == "a."


@pytest.mark.parametrize(
    ("zone", "locale", "expected"),
    [
        ("Asia/Tokyo", "en", "Sun 8 Mar 2026, 16:30 JST"),
        ("America/New_York", "en-US", "Sun, Mar 8, 2026, 3:30 AM EDT"),
        ("Europe/Berlin", "de-DE", "2026-03-08 08:30 CET"),
        ("Europe/London", "en_GB", "Sun 8 Mar 2026, 07:30 GMT"),
        ("not/a zone", "en", "Sun 8 Mar 2026, 07:30 UTC"),
        ("../../etc/passwd", "en", "Sun 8 Mar 2026, 07:30 UTC"),
        (None, None, "Sun 8 Mar 2026, 07:30 UTC"),
    ],
)
def test_times_are_the_recipients(zone: str, locale: str, expected: str) -> None:
    # 8 March 2026, 07:30 UTC is half an hour after New York's clocks went forward.
    recipient = {"timezone": zone, "locale": locale}
    style = "{{ at | datetime }}" if locale != "de-DE" else "{{ at | date }} {{ at | time }}"
    assert text(style, at="2026-03-08T07:30:00Z", recipient=recipient) == expected


def test_a_date_without_a_time_stays_that_date_everywhere() -> None:
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        context = sample_context({"on": "2026-07-01"}, timezone=zone)
        assert text("{{ on | date }} {{ on | datetime }}", **context) == (
            "Wed 1 Jul 2026 Wed 1 Jul 2026"
        )


def test_a_template_may_bring_its_own_date_pattern() -> None:
    context = sample_context({"at": "2026-07-01T12:00:00+00:00"}, timezone="Europe/Berlin")
    assert text("{{ at | datetime('%d.%m.%Y %H:%M') }}", **context) == "01.07.2026 14:00"
    assert "pattern" in str(refusal("{{ at | datetime('%999999999d') }}", **context))


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("1249.5", "EUR", "€1,249.50"),
        (49, "usd", "$49.00"),
        (-3.1, "GBP", "-£3.10"),
        ("12", "CHF", "12.00 CHF"),
        (1500, "JPY", "¥1,500"),
    ],
)
def test_money(amount: object, currency: str, expected: str) -> None:
    assert text("{{ a | money(c) }}", a=amount, c=currency) == expected


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "1E+999999", "abc", "", None])
def test_what_is_no_amount_is_refused(amount: object) -> None:
    assert "decimal amount" in str(refusal("{{ a | money('EUR') }}", a=amount))


@pytest.mark.parametrize("url", ["javascript:alert(1)", "JAVASCRIPT:x", " data:text/html,x", "x"])
def test_a_link_is_a_web_address(url: str) -> None:
    assert "expected a link" in str(refusal('<a href="{{ u | link }}">', part="html", u=url))
    assert text("{{ u | link }}", u="https://a.example/?b=1&c") == "https://a.example/?b=1&c"
