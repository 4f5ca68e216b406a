"""Templates to HTML. Whatever comes from a file is escaped, without exception, and made plain before that."""

from functools import cache
from typing import TYPE_CHECKING

from gradience.report.html.page import Page
from gradience.report.plain import plain

if TYPE_CHECKING:
    from jinja2 import Environment


def render(page: Page) -> str:
    """The report as one file."""
    return _environment().get_template("page.html.j2").render(page=page)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # only reports in HTML need it

    def finalize(value: object) -> object:
        is_markup = hasattr(value, "__html__")  # what a macro has drawn
        return plain(value) if isinstance(value, str) and not is_markup else value

    return Environment(
        loader=PackageLoader("gradience.report.html"),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
