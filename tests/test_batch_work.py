"""The work on one adapter."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gradience import audit
from gradience.audit.disk import adapter
from gradience.batch import row, work
from gradience.batch.work import Order
from gradience.policy.advice import advise

SaveAdapter = Callable[..., Path]


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """Nothing special asked, a cache given."""
    return Order(arguments={"energy_level": 0.95}, cache=tmp_path / "cache")


def test_an_answer_says_what_the_audit_alone_says(save_adapter: SaveAdapter, tmp_path: Path, order: Order) -> None:
    """The row and the findings are those of the record; the record itself comes only where it is asked for."""
    place = str(save_adapter(tmp_path / "a"))
    record = audit.audit(place)
    answer = work.answer(place, "a", order)
    assert answer.row == row.of("a", record, advise(record))
    assert answer.findings == advise(record).recommendations
    assert (answer.source, answer.record) == ("measured", None)
    assert work.answer(place, "a", msgspec.structs.replace(order, whole=True, cache=None)).record == record


def test_what_was_measured_is_not_measured_again(
    save_adapter: SaveAdapter, tmp_path: Path, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the same files lie elsewhere; the row then tells of that place."""
    first = work.answer(str(save_adapter(tmp_path / "a")), "a", order)
    monkeypatch.setattr(audit, "audit", lambda *_, **__: pytest.fail("it was measured again"))
    again = work.answer(str(tmp_path / "a"), "a", order)
    assert again == msgspec.structs.replace(first, source="cache")
    moved = tmp_path / "checkpoint-7"
    (tmp_path / "a").rename(moved)
    elsewhere = work.answer(str(moved), "b", order)
    assert (elsewhere.source, elsewhere.row.peft_dir, elsewhere.row.step) == ("cache", str(moved), 7)


@pytest.mark.parametrize("change", ["weights", "config", "options", "beside"])
def test_whatever_an_audit_depends_on_makes_it_new(
    save_adapter: SaveAdapter, tmp_path: Path, order: Order, change: str
) -> None:
    """Other weights, another scale, another energy level, another adapter beside it that a note tells of."""
    place = save_adapter(tmp_path / "a")
    work.answer(str(place), "a", order)
    if change == "weights":
        save_adapter(place, needed=5)
    if change == "config":
        save_adapter(place, lora_alpha=1)
    if change == "beside":
        save_adapter(place / "other")
    if change == "options":
        order = msgspec.structs.replace(order, arguments={"energy_level": 0.9})
    assert work.answer(str(place), "a", order).source == "measured"


def test_another_adapter_before_training_makes_it_new(save_adapter: SaveAdapter, tmp_path: Path) -> None:
    """What is subtracted is a part of the numbers, under whatever path it lies."""
    place, initial = str(save_adapter(tmp_path / "a")), save_adapter(tmp_path / "initial", needed=2)
    order = Order(arguments={"initial": str(initial)}, cache=tmp_path / "cache")
    assert [work.answer(place, "a", order).source for _ in range(2)] == ["measured", "cache"]
    save_adapter(initial, needed=3)
    assert work.answer(place, "a", order).source == "measured"


def test_a_refusal_is_an_answer(tmp_path: Path, order: Order) -> None:
    """With its one line; it is not kept, since what is wrong may be mended outside of the files."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    answer = work.answer(str(tmp_path / "a"), "a", order)
    assert (answer.source, answer.row.verdict) == ("refused", "refused")
    assert answer.row.error is not None
    assert answer.row.error.startswith(f"cannot audit {tmp_path / 'a'}")
    assert not (tmp_path / "cache").exists()


def test_a_fault_of_ours_costs_one_adapter(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row names the error, and the rest is done."""

    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("x")

    monkeypatch.setattr(adapter, "load", fail)
    assert work.answer("a", "a", order).row.error == "cannot audit a: internal error, KeyError: 'x'"


def test_a_full_disk_costs_only_the_keeping(save_adapter: SaveAdapter, tmp_path: Path, order: Order) -> None:
    """The answer says that it could not be kept."""
    (tmp_path / "cache").touch()
    answer = work.answer(str(save_adapter(tmp_path / "a")), "a", order)
    assert (answer.source, answer.kept) == ("measured", False)
