"""`gradience compare A B [C...]`: what is alike and what is not in adapters, or in recorded runs."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Final

import click
import msgspec

from gradience.audit.compared import Comparison
from gradience.cli import html, output, run_places, side_by_side
from gradience.cli.bar import Bar
from gradience.cli.path import A_PLACE
from gradience.cli.recorded import Asked
from gradience.errors import InputError
from gradience.report import comparison_text

SCHEMA: Final = "gradience.compare/v1"
SEVERAL: Final = "gradience.comparisons/v1"
TOP: Final = 10


@click.command()
@click.argument("places", metavar="A B [C...]", nargs=-1, required=True, type=A_PLACE)
@click.option("--runs", "as_runs", is_flag=True, help="Compare what was recorded, where a place holds an adapter, too.")
@click.option("--top", type=click.IntRange(0), metavar="N", help=f"The N modules that are farthest apart ({TOP}).")
@click.option("--filter", "glob", metavar="GLOB", help="Show only modules of such names; sums stay those of all.")
@click.option("--directions", type=click.IntRange(1), metavar="K", help="Compare subspaces of K leading directions.")
@html.option("a page with charts")
@output.json_option
def command(
    *,
    places: tuple[str, ...],
    as_runs: bool,
    top: int | None,
    glob: str | None,
    directions: int | None,
    page: str | None,
    as_json: bool,
) -> None:
    """Compare adapters, each a directory or a reference; or recorded runs.

    Two adapters: for each module the cosine between the updates, their distance relative to A, and how much the
    subspaces overlap that hold 95 % of their energy. More: the same of every pair. Runs: one row each, and the settings
    in which they differ.
    """
    html.check(page, as_json=as_json)
    if as_runs or _are_runs(places):
        if (top, glob, directions) != (None, None, None):
            raise click.UsageError("--top, --filter and --directions are for adapters, and these are recorded runs")
        side_by_side.show(_several(run_places.find(places)), Asked(), page=page, as_json=as_json)
        return
    if len(places) < 2:
        raise click.UsageError("one adapter cannot be compared: give another")
    if len(places) > 2 and (top, glob) != (None, None):
        raise click.UsageError("--top and --filter show the modules of two adapters, and more are given")
    found = _compared(places, directions)
    if page is not None:
        html.write(_page(found), page)
    if as_json:
        output.document(_document(found, glob=glob, top=top))
    elif page != html.STDOUT:
        output.lines(_text(found, glob=glob, top=top))


def _are_runs(places: Sequence[str]) -> bool:
    """Whether they are recorded runs; what is neither is taken for an adapter, which says what is missing.

    Raises:
        InputError: Some are, and others are adapters.
    """
    are = {place: run_places.is_run(place) for place in places}
    if len(set(are.values())) > 1:
        run, adapter = (next(place for place, is_run in are.items() if is_run is kind) for kind in (True, False))
        raise InputError(
            f"cannot compare a recorded run with an adapter: {run} is a run, {adapter} is not; give two adapters, or "
            "runs alone (--runs takes the journal of a directory that holds an adapter, too)"
        )
    return all(are.values())


def _several(runs: list[str]) -> list[str]:
    if len(runs) < 2:
        raise InputError(f"cannot compare one run: {runs[0]} is all that is there; give another")
    return runs


def _compared(places: Sequence[str], directions: int | None) -> list[Comparison]:
    """Every pair, in the order of the places."""
    from gradience.audit.compare import compare  # brings numpy

    pairs = list(combinations(places, 2))
    found = []
    with Bar("Comparing pairs") as bar:
        for a, b in pairs:
            found.append(compare(a, b, k=directions))
            bar(len(found), len(pairs))
    return found


def _page(found: Sequence[Comparison]) -> str:
    from gradience.report.html import comparison_report  # as in `html`

    return comparison_report.render(found)


def _text(found: Sequence[Comparison], *, glob: str | None, top: int | None) -> str:
    if len(found) > 1:
        return comparison_text.pairs(found)
    rows = comparison_text.select(found[0], glob=glob, top=TOP if top is None and glob is None else top)
    return comparison_text.render(found[0], rows)


def _document(found: Sequence[Comparison], *, glob: str | None, top: int | None) -> dict[str, Any]:
    if len(found) > 1:
        return {"schema": SEVERAL, "pairs": msgspec.to_builtins(found)}
    rows = comparison_text.select(found[0], glob=glob, top=top)
    return {"schema": SCHEMA, **msgspec.to_builtins(found[0]), "modules": msgspec.to_builtins(rows)}
