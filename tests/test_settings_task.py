import pytest

from gradience.settings import task
from gradience.vnext.types import TaskProfile


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("sst2", TaskProfile.EASY_CLASSIFICATION),
        ("glue/cola", TaskProfile.EASY_CLASSIFICATION),
        ("SEQ_CLS", TaskProfile.EASY_CLASSIFICATION),
        ("seq-cls", TaskProfile.EASY_CLASSIFICATION),
        ("openai/gsm8k", TaskProfile.HARD_REASONING),
        ("text_generation", TaskProfile.GENERATION),
        ("CAUSAL_LM", TaskProfile.GENERATION),
        ("qa", TaskProfile.GENERATION),
        ("hard_reasoning", TaskProfile.HARD_REASONING),
        ("chocolate", TaskProfile.UNKNOWN),
        ("aftermath", TaskProfile.UNKNOWN),
        ("aquarium", TaskProfile.UNKNOWN),
        (None, TaskProfile.UNKNOWN),
    ],
)
def test_whole_words_decide_the_profile(name: str | None, profile: TaskProfile) -> None:
    """A dataset's name is matched by words, so that "chocolate" is no CoLA and "aftermath" no maths."""
    assert task.profile(name) is profile


@pytest.mark.parametrize(
    ("name", "objective"), [("dpo", "preference"), ("rl: grpo", "rl"), ("sst2", "sft"), (None, "sft")]
)
def test_the_objective_is_supervised_unless_named(name: str | None, objective: str) -> None:
    """Preference and reinforcement learning have their own learning rates, so they are told apart."""
    assert task.objective([name]) == objective


@pytest.mark.parametrize(("name", "kind"), [("seq-cls", True), ("dpo", True), ("sst2", False)])
def test_a_kind_of_task_is_no_dataset(name: str, kind: bool) -> None:
    """`--task dpo` names no dataset."""
    assert task.is_kind(name) is kind
