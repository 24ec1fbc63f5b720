"""Templates: compiled once per version, rendered for each delivery.

A template is a few parts by name (`subject`, `text`, `html` …), each a Jinja source. The
part named `html` is escaped; every other part is plain text. What a template may say is in
`language`, what it may do to a value in `filters`.
"""

from notifier.rendering.check import check_template, sample_context
from notifier.rendering.parts import PARTS, SHORT, check_parts, check_rendered
from notifier.rendering.template import RenderError, Template, compile_template
from notifier.schema import RESERVED

__all__ = [
    "PARTS",
    "RESERVED",
    "SHORT",
    "RenderError",
    "Template",
    "check_parts",
    "check_rendered",
    "check_template",
    "compile_template",
    "sample_context",
]
