"""What kind of task and training a name stands for; whole words only, so that "chocolate" is no CoLA."""

import re
from collections.abc import Iterable
from typing import Final, Literal

from gradience.vnext.types import TaskProfile

Objective = Literal["sft", "preference", "rl"]

_PROFILES: Final = {
    TaskProfile.HARD_REASONING: "gsm8k svamp math aqua asdiv multiarith proof reasoning metamathqa aime",
    TaskProfile.EASY_CLASSIFICATION: "sst sst2 mnli qqp qnli rte cola mrpc stsb wnli glue imdb emotion sentiment "
    "classification seq_cls sequence_classification text_classification token_cls token_classification",
    TaskProfile.GENERATION: "text_generation generation causal_lm seq_2_seq_lm seq2seq summarization translation chat "
    "instruction qa question_answering question_ans squad xsum cnn_dailymail",
}
_OBJECTIVES: Final[dict[Objective, str]] = {
    "preference": "dpo ipo kto orpo simpo cpo",
    "rl": "rl rlhf grpo gspo dapo ppo rloo reinforce",
}
_KINDS: Final = (
    "seq_cls text_classification sequence_classification classification token_cls token_classification text_generation "
    "generation causal_lm seq_2_seq_lm seq2seq qa question_answering sft dpo ipo kto orpo simpo cpo rl rlhf grpo gspo "
    "dapo ppo rloo reinforce easy_classification hard_reasoning"
)
KINDS: Final = frozenset(_KINDS.split())


def profile(name: str | None) -> TaskProfile:
    """The task profile that a task's or dataset's name stands for; unknown when no word of it says."""
    said = _words(name)
    named = next((one for one in TaskProfile if one.value in said), None)
    known = (one for one, words in _PROFILES.items() if said & set(words.split()))
    return named or next(known, TaskProfile.UNKNOWN)


def objective(names: Iterable[object]) -> Objective:
    """How the adapter is trained, from the names that the settings give; supervised unless one says otherwise."""
    said = {word for name in names if isinstance(name, str) for word in _words(name)}
    return next((one for one, words in _OBJECTIVES.items() if said & set(words.split())), "sft")


def is_kind(name: str) -> bool:
    """Whether a name is a kind of task rather than a dataset."""
    return name.strip().lower().replace("-", "_") in KINDS


def _words(name: str | None) -> set[str]:
    lowered = (name or "").lower().replace("-", "_")
    return {lowered, *re.findall(r"[a-z0-9]+", lowered)}
