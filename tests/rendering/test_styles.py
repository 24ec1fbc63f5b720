"""Style sheets of a template's HTML, put into its elements when it is compiled."""

import re
import time
from contextlib import suppress
from pathlib import Path

import pytest

from notifier import catalogue
from notifier.rendering import RenderError, check_template, compile_template
from notifier.rendering.styles import inlined

SHEET = """<style>
p { color: #111; margin: 0 }
.big, td.big { font: 20px "Segoe UI", Arial }
/* .gone { color: red } */
@media (max-width: 480px) { p { color: #222 !important } }
a:hover { color: #333 }
tr:nth-child(2) td, .total { background: #eee }
h1 + p { color: #444 }
</style>"""


def rendered(html: str, **context: object) -> str:
    return compile_template({"html": html}).render(context)["html"]


def test_rules_stand_in_their_elements_and_stay_in_the_sheet() -> None:
    made = inlined(f"<html><head>{SHEET}</head><body><p>a</p><p class=big>b</p></body></html>")
    assert SHEET in made
    plain, big = made.partition("<body>")[2].removesuffix("</body></html>").split("</p>")[:2]
    assert plain.startswith('<p style="')
    for declaration in ("color: #111", "margin: 0"):
        assert declaration in plain
        assert declaration in big
    assert "font" not in plain
    assert "font: 20px &quot;Segoe UI&quot;" in big or "font: 20px 'Segoe UI'" in big.replace(
        "&#x27;", "'"
    )
    assert big.endswith(" class=big>b")


def test_everything_but_the_styles_is_the_authors_text() -> None:
    source = f"""{SHEET}
<TABLE cellpadding=0><!-- <p>note</p> -->
{{% for row in rows %}}<tr><td class='big' align=left>{{{{ row.a }}}} &amp; < {{{{ "<p>" }}}}
{{% endfor %}}</TABLE>
<!--[if mso]><p>Outlook</p><![endif]--><p>End"""
    made = inlined(source)
    assert made != source
    assert re.sub(r' style="[^"]*"', "", made) == source
    assert made.count("\n") == source.count("\n"), "an error names the author's line"


def test_what_an_element_says_itself_wins() -> None:
    made = inlined("<style>p { color: red; margin: 0 }</style><p style='color: blue'>a</p>")
    assert made.count("style=") == 1
    element = made.partition("</style>")[2]
    assert element.index("color: red") < element.index("color: blue"), "and the last one wins"
    assert "margin: 0" in element


def test_jinja_in_values_is_filled_in() -> None:
    made = rendered(
        "<style>p { color: {{ brand.ink }} }</style>"
        '<p style="width: {{ width }}px" title="{{ title }}">{{ text }}</p>',
        brand={"ink": "#123"},
        width=5,
        title='"',
        text="<b>",
    )
    body = made.partition("</style>")[2]
    assert "color: #123" in body
    assert "width: 5px" in body
    assert body.endswith(' title="&#34;">&lt;b&gt;</p>')


def test_a_style_that_is_filled_in_whole_is_not_lost() -> None:
    for own in ("{{ extra }}", "color: blue; {{ extra }}"):
        made = inlined(f'<style>p {{ margin: 0 }}</style><p class=a style="{own}">b</p>')
        assert made.endswith(f'<p class=a style="margin: 0; {own}">b</p>')


def test_what_depends_on_the_mail_is_left_to_the_sheet() -> None:
    made = inlined(
        f"{SHEET}<style>{{% if dark %}}i {{ color: white }}{{% endif %}} u {{ color: {{% if dark %}}a{{% endif %}} }}</style>"
        "<table>{% for row in rows %}<tr><td>{{ row }}</td></tr>{% endfor %}</table>"
        "<h1>x</h1><p {% if big %}class=big{% endif %}>y</p><i>z</i><u>u</u><b class=total>t</b>"
    )
    body = made.rpartition("</style>")[2]
    assert "<td>" in body, "which row it is is not known"
    assert "<p {% if big %}class=big{% endif %}>" in body, "whether it is big is not known"
    assert "<i>" in body
    assert "<u>" in body
    assert "#444" not in body
    assert "#eee" in body.partition("<b")[2]


def test_sheets_for_other_media_are_left_alone() -> None:
    source = '<style media="print">p { color: red }</style><p>a</p>'
    assert inlined(source) == source
    assert inlined(source.replace("print", "screen")) != source


@pytest.mark.parametrize(
    "source",
    [
        "<p>no sheet</p>",
        "<style></style><p>a</p>",
        "<style>p { color: red }</style>",
        "<style>p { color: red",
        "<style>p {} } { ;;; </style><p>a</p>",
        "<style>@import url(https://evil.example/a.css);</style><p>a</p>",
        "<style>b { color: red }</style><p>a</p>",
    ],
)
def test_where_nothing_fits_nothing_changes(source: str) -> None:
    assert inlined(source) == source


def test_nothing_is_fetched_or_read(tmp_path: Path) -> None:
    file = tmp_path / "a.css"
    file.write_text("p { color: red }")
    links = "".join(
        f'<link rel="stylesheet" href="{where}">'
        for where in (file, f"file://{file}", "http://127.0.0.1:1/a.css")
    )
    source = f"{links}<style>b {{ color: blue }}</style><p>a</p><b>c</b>"
    assert "red" not in inlined(source)
    assert "blue" in inlined(source).partition("</style>")[2]


def test_the_catalogue_carries_its_styles_itself() -> None:
    for kind in catalogue.load():
        html = kind.templates["email"]["html"]
        assert inlined(html) == html, kind.type


@pytest.mark.parametrize(
    "source",
    [
        "<style>" + "p{color:red}" * 5000 + "</style>" + "<p>" * 20_000,
        "<style>p{--a:" + "x" * 20_000 + "}</style>" + "<p>" * 2_000,
        "<style>p{--a:" + "x" * 7_900 + "}</style>" + "<p>" * 2_000,
        "<style>p{color:red}</style>" + "<a \"'" * 20_000,
        "<style>p{color:red}</style>" + "<a b='" * 20_000,
        "<style>" * 15_000,
        "<style>p{color:red}</style>" + "<!--" * 30_000,
        "<style>" + "{" * 100_000 + "</style><p>",
        "<style>" + "p{color:red}</style>" + "{{ '" * 900,
    ],
)
def test_a_hostile_sheet_neither_hangs_nor_fills_the_memory(source: str) -> None:
    began = time.thread_time()
    with suppress(RenderError):
        compile_template({"text": "", "html": source})
    assert time.thread_time() - began < 2


def test_too_much_is_refused_with_its_reason() -> None:
    source = "<style>p{--a:" + "x" * 20_000 + "}</style>" + "<p>" * 2_000
    (problem,) = check_template({"subject": "s", "text": "t", "html": source}, {}, {})
    assert "styles" in problem


def test_compiling_a_usual_mail_takes_milliseconds() -> None:
    source = SHEET + "<table>" + "<tr><td class=big><p>{{ x }}</p></td></tr>" * 200 + "</table>"
    compile_template({"text": "", "html": source})
    began = time.process_time()
    inlined(source)
    assert time.process_time() - began < 0.1
