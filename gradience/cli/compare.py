"""`gradience compare A B`: what is alike and what is not in two adapters, or in recorded runs."""

from collections.abc import Sequence
from typing import Any, Final

import click
import msgspec

from gradience.audit.compared import Comparison
from gradience.cli import output, run_places, side_by_side
from gradience.cli.path import A_PLACE
from gradience.cli.recorded import Asked
from gradience.errors import InputError
from gradience.report import comparison_text

SCHEMA: Final = "gradience.compare/v1"
TOP: Final = 10


@click.command()
@click.argument("places", metavar="A B [C...]", nargs=-1, required=True, type=A_PLACE)
@click.option("--runs", "as_runs", is_flag=True, help="Compare what was recorded, where a place holds an adapter, too.")
@click.option("--top", type=click.IntRange(0), metavar="N", help=f"The N modules that are farthest apart ({TOP}).")
@click.option("--filter", "glob", metavar="GLOB", help="Show only modules of such names; sums stay those of all.")
@click.option("--directions", type=click.IntRange(1), metavar="K", help="Compare subspaces of K leading directions.")
@output.json_option
def command(
    *, places: tuple[str, ...], as_runs: bool, top: int | None, glob: str | None, directions: int | None, as_json: bool
) -> None:
    """Compare two adapters, each a directory or a reference; or two or more recorded runs.

    Adapters: for each module the cosine between the updates, their distance relative to A, and how much the subspaces
    overlap that hold 95 % of their energy. Runs: one row each, and the settings in which they differ.
    """
    if as_runs or _are_runs(places):
        if (top, glob, directions) != (None, None, None):
            raise click.UsageError("--top, --filter and --directions are for adapters, and these are recorded runs")
        side_by_side.show(_several(run_places.find(places)), Asked(), as_json=as_json)
        return
    if len(places) != 2:
        raise click.UsageError(f"two adapters can be compared, and {len(places)} places are given")
    found = _compared(places[0], places[1], directions)
    if as_json:
        output.document(_document(found, glob=glob, top=top))
        return
    rows = comparison_text.select(found, glob=glob, top=TOP if top is None and glob is None else top)
    output.lines(comparison_text.render(found, rows))


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


def _compared(a: str, b: str, directions: int | None) -> Comparison:
    from gradience.audit.compare import compare  # brings numpy

    return compare(a, b, k=directions)


def _document(found: Comparison, *, glob: str | None, top: int | None) -> dict[str, Any]:
    rows = comparison_text.select(found, glob=glob, top=top)
    return {"schema": SCHEMA, **msgspec.to_builtins(found), "modules": msgspec.to_builtins(rows)}
