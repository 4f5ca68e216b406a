"""Audits of many adapters, for a terminal and as CSV."""

import csv
import io

import click
import pytest

from gradience.batch import row
from gradience.batch.row import Row
from gradience.report import batch_csv, batch_text

ROWS = [
    Row(
        name="a",
        peft_dir="hub/a",
        verdict="review",
        codes=("over_provisioned", "other"),
        suggested_rank=2,
        r=16,
        modules=3,
        kinds={"attn": 1, "mlp": 2},
        params=4096,
        surplus_params=3000,
        rank_waste=0.8,
        utilization=0.1,
    ),
    Row(name="b", peft_dir="hub/b", verdict="ok", r=8, modules=1, kinds={"attn": 1}, params=1000, surplus_params=0),
    row.refused("c\x1b[2J", "hub/c", "cannot audit hub/c: it is empty; save it again"),
]


def test_the_table_has_a_row_for_each_and_the_reasons_below() -> None:
    """In the order given; what a name could do to a terminal is escaped."""
    lines = click.unstyle(batch_text.render(ROWS)).splitlines()
    assert lines[0] == "LoRA audit  3 adapters, 1 of them refused"
    assert lines[2].strip() == "5.1K parameters, 3.0K surplus: beyond the 95% energy ranks"
    assert [line.split()[:2] for line in lines[6:8]] == [["a", "review"], ["b", "ok"]]
    assert lines[-2:] == [
        "Not audited",
        r"  refused     c\x1b[2J: cannot audit hub/c: it is empty; save it again",
    ]


def test_nothing_is_said_of_what_there_is_none_of() -> None:
    """No table without rows, no refusals where there are none."""
    assert click.unstyle(batch_text.render(ROWS[2:])).splitlines()[:3] == [
        "LoRA audit  1 adapter, 1 of them refused",
        "",
        "Not audited",
    ]
    assert click.unstyle(batch_text.render(ROWS[:2])).splitlines()[0] == "LoRA audit  2 adapters"


def test_the_first_rows_alone_still_sum_up_all() -> None:
    """And every refusal is still told."""
    lines = click.unstyle(batch_text.render(ROWS, top=1)).splitlines()
    assert lines[0] == "LoRA audit  3 adapters, 1 of them refused"
    assert lines[4] == "Adapters (first 1)"
    assert not any(line.split()[:1] == ["b"] for line in lines)
    assert "Not audited" in lines


@pytest.mark.parametrize("column", ["name", "peft_dir", "verdict", "error"])
def test_csv_holds_every_field_of_every_row(column: str) -> None:
    """Refused adapters too; unknown values are empty cells."""
    read = list(csv.DictReader(io.StringIO(batch_csv.render(ROWS))))
    assert [one[column] for one in read] == [getattr(one, column) or "" for one in ROWS]
    assert set(read[0]) == set(Row.__struct_fields__)
    assert (read[0]["codes"], read[0]["kinds"], read[1]["suggested_rank"]) == (
        "over_provisioned other",
        "attn=1 mlp=2",
        "",
    )
