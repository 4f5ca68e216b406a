from pathlib import Path
from typing import Any

import pytest

from gradience.mirror import origin
from gradience.mirror.sink import Run


def _run(journal: Path, **said: Any) -> Run:
    return Run(run_id="r", journal=str(journal), started=0.0, **said)


@pytest.mark.parametrize(
    ("config", "meta", "trains"),
    [
        ({"training": {"max_steps": 10}}, {}, True),
        ({}, {}, True),
        ({"lora": {"r": 8}}, {"created_by": "somebody"}, True),
        ({"training": {"max_steps": 10}}, {"created_by": origin.AUDIT}, False),
        ({}, {"created_by": origin.COMPRESS}, False),
        ({}, {"created_by": origin.VERIFY}, False),
    ],
)
def test_only_a_command_that_made_its_journal_is_no_training(
    config: Any, meta: Any, trains: bool, tmp_path: Path
) -> None:
    """A recorder need not say how it trains; were its run taken for a command's, another's would get its lines."""
    assert origin.trains(_run(tmp_path / "run.jsonl", config=config, meta=meta)) is trains


def test_the_training_wrote_where_the_journal_says(tmp_path: Path) -> None:
    """Its own word counts; else the folder it lies in, and for a checkpoint's folder the one above."""
    beside = tmp_path / "out" / "checkpoint-5" / "run.jsonl"
    assert origin.directories(_run(beside)) == [beside.parent, tmp_path / "out"]
    assert origin.directories(_run(tmp_path / "out" / "run.jsonl")) == [tmp_path / "out"]
    assert origin.directories(_run(beside, meta={"output_dir": "/data/out"})) == [Path("/data/out")] * 2
