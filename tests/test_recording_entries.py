"""What loops log under names of their own, as steps and evaluations."""

import numpy as np
import pytest

from gradience.recording import entries


@pytest.mark.parametrize(
    ("logged", "found"),
    [
        ({"loss": 1.0, "epoch": 2}, {"loss": 1.0, "epoch": 2}),
        ({"train_loss_step": 1.0, "train/acc": 0.5}, {"loss": 1.0, "train/acc": 0.5}),
        (
            {"train/loss": 1.0, "learning_rate": 0.1, "grad_2.0_norm_total": 3.0},
            {"loss": 1.0, "lr": 0.1, "grad_norm": 3.0},
        ),
        ({"loss": 1.0, "train_loss": 2.0}, {"loss": 1.0}),
        ({"val_loss": 1.0, "step": 3, "ts": 4}, {}),
    ],
)
def test_a_step_has_our_names_for_what_all_loops_log(logged: dict[str, float], found: dict[str, float]) -> None:
    """The rest keeps its own; of two that are meant the same the first counts, and no key of the envelope is taken."""
    assert entries.training(logged) == found


@pytest.mark.parametrize(
    ("logged", "split", "found"),
    [
        ({"val_loss": 1.0, "train_loss": 2.0}, None, {"val": {"loss": 1.0}}),
        (
            {"validation/perplexity": 3.0, "test_acc": 0.5},
            None,
            {"validation": {"ppl": 3.0}, "test": {"accuracy": 0.5}},
        ),
        ({"val_loss_epoch/dataloader_idx_1": 1.0, "epoch": 2}, "val", {"val_1": {"loss": 1.0}}),
        ({"f1": 0.5}, "test", {"test": {"f1": 0.5}}),
        ({"f1": 0.5}, None, {}),
    ],
)
def test_an_evaluation_is_of_the_set_that_it_names(
    logged: dict[str, float], split: str | None, found: dict[str, dict[str, float]]
) -> None:
    """Or of the one that the loop is known to evaluate; several loaders of it are apart."""
    assert entries.evaluations(logged, split) == found


def test_only_numbers_are_taken() -> None:
    """A scalar of numpy or a tensor is one, a text, a flag or several elements are not."""
    given = {"a": 1, "b": np.float32(0.5), "c": np.ones(2), "d": "x", "e": True, "f": None, "g": np.ones(1)}
    assert entries.numbers(given) == {"a": 1, "b": 0.5, "g": 1.0}
