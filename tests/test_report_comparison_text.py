from collections.abc import Callable
from pathlib import Path

import click
import msgspec
import pytest

from gradience.audit.compare import compare
from gradience.audit.compared import Comparison, OtherShape
from gradience.errors import InputError
from gradience.report import comparison_text

SaveAdapter = Callable[..., Path]


@pytest.fixture
def found(tmp_path: Path, save_adapter: SaveAdapter) -> Comparison:
    """Two adapters that have nothing to do with each other."""
    return compare(save_adapter(tmp_path / "a"), save_adapter(tmp_path / "checkpoint-5", r=8))


def _text(found: Comparison) -> list[str]:
    return click.unstyle(comparison_text.render(found, comparison_text.select(found, top=2))).splitlines()


def test_both_are_named_before_their_numbers(found: Comparison) -> None:
    """All together, by type, and the modules that were asked for."""
    lines = _text(found)
    assert lines[0] == "LoRA comparison"
    assert "checkpoint-5 (r=8 alpha=16, step 5)" in " ".join(" ".join(lines).split())
    table = lines.index("Updates of the modules that both adapt") + 2
    assert [line.split()[0] for line in lines[table : table + 3]] == ["all", "attn", "mlp"]
    assert "Modules, 2 of 4" in lines


def test_modules_in_one_only_are_notes(found: Comparison) -> None:
    """The first few by name, all by number."""
    other = OtherShape(name="q", shape_a=(2, 3), shape_b=(4, 5))
    changed = msgspec.structs.replace(found, only_in_b=tuple("abcd"), other_shapes=(other,))
    assert _text(changed)[-2:] == [
        "  - only in B: 4 modules: a, b, c and 1 more",
        "  - of another shape, so not compared: 1 modules: q (2x3 and 4x5)",
    ]


def test_rows_are_chosen_by_name_or_by_distance(found: Comparison) -> None:
    """The farthest apart first; names keep the order of the adapter."""
    farthest = comparison_text.select(found, top=4)
    assert [one.distance for one in farthest] == sorted((one.distance for one in found.modules), reverse=True)
    assert [one.layer for one in comparison_text.select(found, glob="*.q_proj")] == [0, 1]
    with pytest.raises(InputError, match=r"none of 4 does; the first is model.layers.0"):
        comparison_text.select(found, glob="x*")


@pytest.mark.parametrize(("cosine", "text"), [(1.0, "1.0000"), (0.99999, "0.9999"), (-0.5, "-0.5000"), (None, "-")])
def test_a_cosine_reads_as_1_only_where_it_is(found: Comparison, cosine: float | None, text: str) -> None:
    """Almost the same is not the same."""
    overall = msgspec.structs.replace(found.overall, cosine=cosine)
    rows = [line.split() for line in _text(msgspec.structs.replace(found, overall=overall))]
    assert next(cells for cells in rows if cells[:1] == ["all"])[2] == text
