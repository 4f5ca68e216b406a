"""Which split is held against training."""

import pytest

from gradience.vnext import gap


@pytest.mark.parametrize(
    ("splits", "chosen"),
    [
        (["train", "eval", "test"], "test"),
        (["easy", "hard"], "easy"),
        (["train", "train_sample", "easy"], "easy"),
        (["train"], None),
        ([], None),
    ],
)
def test_the_split_that_is_held_out(splits: list[str], chosen: str | None) -> None:
    """One of the usual names, else the first that is not a part of the training: sets may be called anything."""
    assert gap.held_out(splits) == chosen
