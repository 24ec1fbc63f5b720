"""The text that is made for a mail that has only HTML."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier import catalogue
from notifier.rendering import RenderError, check_template, compile_template, sample_context


def text(html: str, **context: object) -> str:
    return compile_template({"html": html}).render(context)["text"]


def test_a_mail_reads_as_it_looks() -> None:
    source = """<!doctype html>
<html><head><title>Digest</title><style>p { color: red }</style></head><body>
<div style="display:none">Preheader</div>
<h1>Hello{% if name %}, {{ name }}{% endif %}</h1>
<p>You &amp; I have
   {{ tasks | length }} tasks. <a href="{{ url | link }}">Open them</a>.</p>
<ul>
  {% for task in tasks %}
  <li>{{ task.title }}</li>
  {% endfor %}
</ul>
<table><tr><td>Total</td><td>2</td></tr><tr><th>Due</th><td>today</td></tr></table>
<script>alert(1)</script><!-- a note {{ name }} -->
<p>Bye<br>The team<img src="x.png" alt="(logo)"></p>
</body></html>"""
    given = {
        "name": "Ada <3",
        "url": "https://a.example/?a=1&b=2",
        "tasks": [{"title": "Ship it"}, {"title": "Rest"}],
    }
    assert text(source, **given).split("\n") == [
        "Hello, Ada <3",
        "",
        "You & I have 2 tasks. Open them (https://a.example/?a=1&b=2).",
        "",
        "- Ship it",
        "- Rest",
        "",
        "Total 2",
        "Due today",
        "",
        "Bye",
        "The team(logo)",
    ]
    assert text(source, **given | {"name": "", "tasks": []}).split("\n")[:4] == [
        "Hello",
        "",
        "You & I have 0 tasks. Open them (https://a.example/?a=1&b=2).",
        "",
    ]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>a</p>{% if no %}<p>b</p>{% endif %}<p>c</p>", "a\n\nc"),
        ("{% for x in xs %}{{ x }}<br>{% endfor %}end", "1\n2\nend"),
        ("{% for x in xs %}<div>{{ x }}</div>{% endfor %}", "1\n2"),
        ("({% for x in xs %}{{ x }}, {% endfor %})", "(1, 2, )"),
        ("a<br><br><br><br>b", "a\n\nb"),
        ("<p> a  b\n c&nbsp;d </p>", "a b c d"),
        ("<a href='https://a.example'>https://a.example</a>", "https://a.example"),
        ("<a href='{{ u }}'>{{ u }}</a>", "https://u.example"),
        ("<a href='https://a.example'><img src=x></a>", "https://a.example"),
        ("<a href='mailto:a@b.example'>a</a> <a href='#x'>b</a> <a>c</a></a>", "a b c"),
        ("1 < 2 &lt; 3 <3", "1 < 2 < 3 <3"),
        ("&#123;&#123; x }} {{ '{{' }} {% raw %}{{ y }}{% endraw %}", "{{ x }} {{ {{ y }}"),
        ("{# a note #}a{% set z = 1 %}{{ z }}", "a1"),
        ("<head>{% set z = 1 %}</head>{{ z }}", "1"),
        ("<div style='DISPLAY : none'><div>x</div>{% if no %}y</div>{% endif %}z", "z"),
        ("<div style='display:none'><p>x<div>y</div></div>z", "z"),
        ("<textarea><p>x</textarea><TITLE>y</TITLE>z", "z"),
        ("", ""),
    ],
)
def test_how_markup_reads(html: str, expected: str) -> None:
    assert text(html, xs=[1, 2], no=False, u="https://u.example") == expected


def test_values_are_not_escaped_twice_nor_once() -> None:
    assert text("<p>{{ x }}</p>", x='a < b & "c"') == 'a < b & "c"'


def test_a_text_of_the_authors_own_is_kept() -> None:
    parts = {"html": "<p>html</p>", "text": "own"}
    assert compile_template(parts).render({}) == {"html": "<p>html</p>", "text": "own"}
    assert compile_template({"text": "own"}).render({}) == {"text": "own"}


def test_only_html_brings_a_text() -> None:
    assert list(compile_template({"subject": "s", "html": "<p>a"}).render({})) == [
        "subject",
        "html",
        "text",
    ]


def test_an_error_is_the_htmls() -> None:
    with pytest.raises(RenderError, match=r"^html, line 2: nome is missing$"):
        text("<p>\n{{ nome }}</p>")


def test_where_no_text_can_be_made_the_author_is_told() -> None:
    source = "<p>{% if a %}</p><b {% endif %}>x</b>"
    (problem,) = check_template(
        {"subject": "s", "html": source}, {"properties": {"a": {}}}, {"a": 1}
    )
    assert problem == "html: no text can be made of it; give the template a text"
    assert (
        check_template(
            {"subject": "s", "html": source, "text": "t"},
            {"type": "object", "required": ["a"], "properties": {"a": {}}},
            {"a": 1},
        )
        == []
    )


def test_every_mail_of_the_catalogue_could_do_without_a_text() -> None:
    for kind in catalogue.load():
        mail = kind.templates["email"]
        context = sample_context(kind.example, unsubscribe_url="https://n.example/u/1")
        made = compile_template({"html": mail["html"]}).render(context)["text"]
        assert "https://n.example/u/1" in made
        assert "<" not in made
        assert "\n\n\n" not in made
        assert all(line == line.strip() for line in made.split("\n"))


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("<>/=\"'ab {}%#!-&;p\n"), max_size=80))
def test_html_that_renders_has_a_text_that_renders(source: str) -> None:
    context = {"a": "A", "b": "B", "p": "P", "ab": "AB"}
    try:
        compile_template({"text": "", "html": source}).render(context)
        template = compile_template({"html": source})
    except RenderError:
        return
    assert set(template.render(context)) == {"html", "text"}


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<a ", "<a \"'", "<a b='", "<title>", "<p>", "&", "<", "<li>", "<a href=x>", "</a>"],
)
def test_hostile_html_is_read_in_no_time(piece: str) -> None:
    began = time.thread_time()
    text(piece * (100_000 // len(piece)))
    assert time.thread_time() - began < 2
