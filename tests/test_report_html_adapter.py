"""The page of an adapter: what it shows of the audit, wherever its two payloads come from."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from gradience.audit.record import AuditRecord
from gradience.policy import advice, audit_event
from gradience.report.html import adapter_report, audit_section, heat_map
from gradience.report.html.heat_map import Value
from gradience.report.html.page import Page
from tests.html_page import Shown

MakeRecord = Callable[..., AuditRecord]
AMPLE = [3, 1, 0.1, 0.01, 0, 0, 0, 0]
FULL = [1.0] * 8


def _page(record: AuditRecord) -> Page:
    advised = advice.advise(record)
    return adapter_report.page(audit_event.metrics(record, advised), audit_event.recommendation(record, advised))


def test_the_page_has_the_verdict_first_and_the_suggested_rank_marked(make_record: MakeRecord) -> None:
    """In the badge, in the tiles, in the table and across the curve; with the findings and their tests."""
    record = make_record({f"layers.{layer}.q_proj": AMPLE for layer in range(3)})
    advised = advice.advise(record)
    metrics, told = audit_event.metrics(record, advised), audit_event.recommendation(record, advised)
    shown = Shown(adapter_report.render(metrics, told))
    assert shown.open == []
    assert advised.suggested_rank == 2
    found = _page(record)
    assert (found.title, found.status, found.status_kind) == ("adapter", "verdict: review", "warning")
    assert {tile.label: tile.value for tile in found.tiles}["rank to test"] == "2"
    ranks = found.tables[0]
    assert ranks.chosen is not None
    assert ranks.rows[ranks.chosen][0] == "2"
    assert [flag.label for flag in ranks.figures[0].flags] == ["suggested rank 2"]
    assert [tick.label for tick in ranks.figures[0].x_ticks] == [row[0] for row in ranks.rows] == ["1", "2", "4", "8"]
    assert "gradience compress --rank 2" in shown.text
    assert "`" not in shown.text


def test_without_advice_no_rank_stands_out(make_record: MakeRecord) -> None:
    """An adapter that uses its rank, or one that nobody judged."""
    record = make_record({"layers.0.q_proj": FULL})
    assert _page(record).tables[0].chosen is None
    bare = adapter_report.page(audit_event.metrics(record, advice.advise(record)), {})
    assert (bare.status, bare.findings, bare.tables[0].chosen) == ("no verdict", [], None)


def test_the_map_has_a_cell_for_each_target_in_each_layer(make_record: MakeRecord) -> None:
    """Pale where rank is spare, full where all is used; modules in no layer stand in a column of their own."""
    spectra = {f"layers.{layer}.{name}": AMPLE for layer in (0, 1, 10) for name in ("q_proj", "k_proj")}
    drawn = audit_section.rank_map(make_record({**spectra, "layers.1.q_proj": FULL, "lm_head": AMPLE}))
    assert [label.text for label in drawn.columns] == ["0", "1", "10", "-"]
    assert [label.text for label in drawn.rows] == ["lm_head", "k_proj", "q_proj"]
    shades = {cell.hint.partition(":")[0]: (cell.shade, cell.text) for cell in drawn.cells}
    assert shades["layers.1.q_proj"] == (drawn.shades, "8")
    assert shades["layers.10.k_proj"] == (round(drawn.shades * 2 / 8), "2")
    assert len(shades) == 7


def test_stacks_of_layers_are_rows_of_their_own(make_record: MakeRecord) -> None:
    """The first layer of an encoder is not that of a decoder."""
    names = [f"{stack}.block.0.q" for stack in ("encoder", "decoder")]
    drawn = audit_section.rank_map(make_record(dict.fromkeys(names, AMPLE)))
    assert [label.text for label in drawn.rows] == ["decoder.block q", "encoder.block q"]


def test_of_many_modules_in_a_cell_the_fullest_is_shown(make_record: MakeRecord) -> None:
    """Experts share a target: a mean would hide the one that needs its rank."""
    experts = {f"layers.0.experts.{number}.up_proj": AMPLE for number in range(4)}
    (cell,) = audit_section.rank_map(make_record({**experts, "layers.0.experts.2.up_proj": FULL})).cells
    assert cell.hint == "layers.0.experts.2.up_proj: k@95 8 of r=8, 100.0%, the most of 4 modules"


@pytest.mark.parametrize("layers", [1, 32, 126, 400])
def test_a_map_of_any_width_lies_on_the_paper(layers: int) -> None:
    """Cells do not overlap, names of columns keep their distance, and texts stand only where they fit."""
    values = {(0, layer): Value(share=0.5, text="8", hint="") for layer in range(layers)}
    drawn = heat_map.draw(
        "t", ["a_name_that_is_much_longer_than_the_others"], list(map(str, range(layers))), values, "x"
    )
    places = sorted(cell.x for cell in drawn.cells)
    assert places[-1] + drawn.cell <= heat_map.WIDTH
    assert all(later - earlier >= drawn.cell - 0.02 for earlier, later in pairwise(places))
    assert {bool(cell.text) for cell in drawn.cells} == {drawn.cell >= heat_map.READABLE}
    names = [label.at for label in drawn.columns]
    assert all(later - earlier >= heat_map.READABLE - 0.1 for earlier, later in pairwise(names))
    assert [label.text for label in drawn.rows] == ["…_longer_than_the_others"]


def test_targets_have_small_charts_on_one_pair_of_axes(make_record: MakeRecord) -> None:
    """The heaviest first, so that their shapes can be compared by eye."""
    heavy = [30.0, 10.0, 1.0, 0.1, 0, 0, 0, 0]
    found = _page(make_record({"layers.0.q_proj": AMPLE, "layers.0.up_proj": heavy})).tables[1]
    assert [figure.title for figure in found.small_figures] == ["up_proj", "q_proj"]
    assert len({tuple(tick.label for tick in figure.y_ticks) for figure in found.small_figures}) == 1


def test_what_a_map_or_a_table_leaves_out_is_told(make_record: MakeRecord) -> None:
    """An adapter with more targets than a page can hold."""
    record = make_record({f"layers.0.target{number}": AMPLE for number in range(50)})
    found = _page(record).tables[1]
    assert len(found.rows) == audit_section.TARGETS_SHOWN
    assert found.more == "10 more rows of the map. 26 more targets."


@pytest.mark.parametrize("metrics", [{"energy_rank_90_p50": 1.5, "note": "x"}, {"adapter": 3}])
def test_somebody_elses_audit_has_its_plain_numbers(metrics: dict[str, Any]) -> None:
    """Nothing of it is understood, so nothing is drawn."""
    found = adapter_report.page(metrics, {"verdict": "ok", "recommendations": "x"})
    assert (found.title, found.tiles, found.figures) == ("Audit of an adapter", [], ())
    numbers = [[key, str(value)] for key, value in metrics.items() if isinstance(value, float | int)]
    assert found.tables[0].rows == numbers


def test_the_commands_that_test_a_suggestion_can_be_pasted(make_record: MakeRecord) -> None:
    """A line each, with the adapter's own path; none where nothing is suggested."""
    record = make_record({"layers.0.q_proj": AMPLE}, peft_dir="my runs/out/")
    advised = advice.advise(record)
    page = adapter_report.render(audit_event.metrics(record, advised), audit_event.recommendation(record, advised))
    shown = Shown(page).text
    assert "gradience compress --peft-dir 'my runs/out/' --rank 2 --out out-r2\n" in shown
    assert "gradience verify --original 'my runs/out/' --compressed out-r2 \\\n  --command '" in shown
    assert not _page(make_record({"layers.0.q_proj": FULL})).commands
