"""Adapters side by side as a page: of two their modules, of more every pair."""

from collections.abc import Sequence
from typing import Final

from gradience import __version__
from gradience.audit.compared import Comparison, ModuleComparison
from gradience.report import comparison_text
from gradience.report.html import heat_map, module_map, rendering
from gradience.report.html.heat_map import HeatMap, Value
from gradience.report.html.module_map import Measured
from gradience.report.html.page import Page, Pair, Table
from gradience.report.numbers import fixed, number, percent

ROWS_SHOWN: Final = 100
MAP: Final = "Cosine between the updates"
COLOURS: Final = "A full cell is a cosine of 1, the same direction; a pale one is 0 or less, no common direction."


def render(found: Sequence[Comparison]) -> str:
    """The page as one HTML file, of the pairs of some adapters in their order."""
    return rendering.render(page(found))


def page(found: Sequence[Comparison]) -> Page:
    """What the page says."""
    letters = comparison_text.lettered(found)
    return Page(
        title=f"{len(letters)} adapters",
        tiles=_tiles(found[0]) if len(found) == 1 else [],
        findings=None,
        tables=[
            Table(
                title="Adapters",
                rows=[(name, comparison_text.adapter(info)) for name, info in letters.items()],
                is_wide=True,
            ),
            *(_modules(found[0]) if len(found) == 1 else [_pairs(found, list(letters))]),
            *_notes(found),
        ],
        made=f"Made by gradience {__version__} from the weights of the adapters.",
    )


def _tiles(found: Comparison) -> list[Pair]:
    overall = found.overall
    return [
        Pair("cosine", _short(overall.cosine)),
        Pair("distance relative to A", percent(overall.relative_distance)),
        Pair("overlap of outputs", fixed(overall.left_overlap_mean)),
        Pair("overlap of inputs", fixed(overall.right_overlap_mean)),
    ]


def _modules(found: Comparison) -> list[Table]:
    shown = comparison_text.select(found, top=ROWS_SHOWN)
    more = len(found.modules) - len(shown)
    return [
        Table(
            title="Updates of the modules that both adapt",
            text=COLOURS,
            heat_map=_map(found),
            header=comparison_text.TYPE_COLUMNS,
            rows=comparison_text.type_rows(found),
        ),
        Table(
            title="Modules, the farthest apart first",
            header=comparison_text.MODULE_COLUMNS,
            rows=comparison_text.module_rows(shown),
            more=f"And {more} more." if more else "",
        ),
    ]


def _map(found: Comparison) -> HeatMap:
    """Of modules that share a cell the one that is farthest apart."""
    farthest = sorted(found.modules, key=lambda one: 0.0 if one.cosine is None else one.cosine)
    return module_map.draw(MAP, map(_measured, farthest), "the farthest apart")


def _measured(one: ModuleComparison) -> Measured:
    hint = f"cosine {number(one.cosine)}, |A-B|/|A| {percent(one.relative_distance)}"
    return Measured(name=one.name, share=one.cosine or 0.0, text=_short(one.cosine), hint=hint)


def _pairs(found: Sequence[Comparison], letters: Sequence[str]) -> Table:
    places = [(row, column) for row in range(len(letters)) for column in range(row + 1, len(letters))]
    values: dict[tuple[int, int], Value] = {}
    for (row, column), one in zip(places, found, strict=True):
        cosine = one.overall.cosine
        hint = f"{letters[row]} {letters[column]}: cosine {number(cosine)}"
        values[row, column] = values[column, row] = Value(cosine or 0.0, _short(cosine), hint)
    return Table(
        title="Every pair",
        text=COLOURS,
        heat_map=heat_map.draw(MAP, letters, letters, values, ""),
        header=comparison_text.PAIR_COLUMNS,
        rows=comparison_text.pair_rows(found),
    )


def _short(cosine: float | None) -> str:
    """Two decimals; what is not quite 1 never reads as if it were."""
    text = fixed(cosine)
    return "0.99" if text == "1.00" and cosine is not None and cosine < 1 - 1e-9 else text


def _notes(found: Sequence[Comparison]) -> list[Table]:
    rows = [[note] for note in dict.fromkeys(note for one in found for note in comparison_text.notes(one))]
    return [Table(title="Notes", rows=rows, is_wide=True)] if rows else []
