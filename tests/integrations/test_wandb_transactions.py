"""Tests of W&B's transaction log as we write it, and of directories that hold something else."""

from pathlib import Path

import pytest

pytest.importorskip("wandb")

from gradience_wandb import recorded, transactions
from gradience_wandb.transactions import Log


@pytest.mark.parametrize("size", [0, 5, 32 * 1024 - 40, 32 * 1024 - 20, 32 * 1024, 100_000])
def test_what_was_written_is_read(tmp_path: Path, size: int) -> None:
    """Also where a record meets the end of a block, or goes over several."""
    file = tmp_path / "run-1.wandb"
    for shift in range(12):
        payloads = [b"1", b"2" * (size + shift), b"3"]
        transactions.write(file, payloads)
        assert list(Log(file).payloads()) == payloads
    assert [path.name for path in tmp_path.iterdir()] == ["run-1.wandb"]


def test_a_directory_that_tells_of_no_run_is_none(tmp_path: Path) -> None:
    """An empty one, one with a file of something else, one whose records are no records."""
    file = tmp_path / "run-1.wandb"
    assert recorded.look(tmp_path) is None
    file.write_bytes(b"something else")
    assert recorded.look(tmp_path) is None
    transactions.write(file, [b"no record", b"\xff" * 20])
    assert recorded.look(tmp_path) is None
