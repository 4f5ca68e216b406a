"""`gradience compare A B`: what is alike and what is not in two adapters."""

from typing import Any, Final

import click
import msgspec

from gradience.audit.compared import Comparison
from gradience.cli import output
from gradience.cli.path import A_PLACE
from gradience.report import comparison_text

SCHEMA: Final = "gradience.compare/v1"
TOP: Final = 10


@click.command()
@click.argument("a", type=A_PLACE)
@click.argument("b", type=A_PLACE)
@click.option("--top", type=click.IntRange(0), metavar="N", help=f"The N modules that are farthest apart ({TOP}).")
@click.option("--filter", "glob", metavar="GLOB", help="Show only modules of such names; sums stay those of all.")
@click.option("--directions", type=click.IntRange(1), metavar="K", help="Compare subspaces of K leading directions.")
@output.json_option
def command(*, a: str, b: str, top: int | None, glob: str | None, directions: int | None, as_json: bool) -> None:
    """Compare the updates of two adapters, each a directory or a reference.

    For each module: the cosine between the updates, their distance relative to A, and how much the subspaces overlap
    that hold 95 % of their energy.
    """
    found = _compared(a, b, directions)
    if as_json:
        output.document(_document(found, glob=glob, top=top))
        return
    rows = comparison_text.select(found, glob=glob, top=TOP if top is None and glob is None else top)
    output.lines(comparison_text.render(found, rows))


def _compared(a: str, b: str, directions: int | None) -> Comparison:
    from gradience.audit.compare import compare  # brings numpy

    return compare(a, b, k=directions)


def _document(found: Comparison, *, glob: str | None, top: int | None) -> dict[str, Any]:
    rows = comparison_text.select(found, glob=glob, top=top)
    return {"schema": SCHEMA, **msgspec.to_builtins(found), "modules": msgspec.to_builtins(rows)}
