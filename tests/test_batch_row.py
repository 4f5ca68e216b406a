"""One adapter of many as a row."""

from collections.abc import Callable

from gradience.audit.record import AuditRecord
from gradience.batch import row
from gradience.batch.row import Row
from gradience.policy.advice import advise

MakeRecord = Callable[..., AuditRecord]


def test_a_row_holds_what_a_table_is_searched_and_sorted_by(make_record: MakeRecord) -> None:
    """Numbers of the record and of the advice on it, under the names that they have there."""
    record = make_record({"0.q_proj": [3.0] + [0.0] * 15, "1.mlp": [2.0, 1.0] + [0.0] * 14}, base_model="org/base")
    advice = advise(record)
    found = row.of("one", record, advice)
    assert (found.name, found.peft_dir, found.base_model) == ("one", "out/adapter", "org/base")
    assert (found.verdict, found.codes, found.suggested_rank) == ("review", ("over_provisioned",), 2)
    assert (found.r, found.modules, found.kinds, found.params) == (16, 2, {"attn": 1, "mlp": 1}, 4096)
    assert found.surplus_params == 128 * (15 + 14)
    assert (found.rank_waste, found.utilization) == (record.summary.rank_waste, record.summary.utilization_mean)
    assert found.error is None


def test_most_surplus_comes_first_and_the_refused_last() -> None:
    """Equals by name, so that a table is the same whoever was ready first, and checkpoints follow each other."""
    rows = [
        Row(name="d/10", peft_dir="hub/d/10", verdict="ok", surplus_params=0),
        Row(name="d/9", peft_dir="hub/d/9", verdict="ok", surplus_params=0),
        row.refused("z", "hub/z", "cannot audit"),
        Row(name="b", peft_dir="hub/b", verdict="ok", surplus_params=1),
        Row(name="a", peft_dir="hub/a", verdict="ok", surplus_params=1),
        Row(name="c", peft_dir="hub/c", verdict="ok", surplus_params=5),
        row.refused("y", "hub/y", "cannot audit"),
    ]
    assert [one.name for one in row.by_surplus(rows)] == ["c", "a", "b", "d/9", "d/10", "y", "z"]


def test_a_name_is_what_tells_an_adapter_from_the_others() -> None:
    """The folders that all share are not worth a column's width; at least the last one stays."""
    assert row.names(["hub/a/one", "hub/a/two/"]) == {"hub/a/one": "one", "hub/a/two/": "two"}
    assert row.names(["hub/a/x", "hub/b/x"]) == {"hub/a/x": "a/x", "hub/b/x": "b/x"}
    assert row.names(["hub/a"]) == {"hub/a": "a"}
    assert row.names(["/x/a", "a"]) == {"/x/a": "/x/a", "a": "a"}
