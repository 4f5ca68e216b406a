from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.settings.snapshot import canonical, fill, snapshot
from gradience.settings.text import parse
from gradience.vnext.types import ConfigSnapshot

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
known = st.sampled_from(
    ["lr", "optimizer", "lora", "training", "r", "lora_alpha", "target_modules", "max_steps", "bf16"]
)


@given(st.dictionaries(known | st.text(), values, max_size=6))
def test_no_mapping_raises(given_settings: dict[str, Any]) -> None:
    """Whatever the values are, there is a snapshot."""
    assert isinstance(snapshot(given_settings), ConfigSnapshot)


@pytest.mark.parametrize("written", ["1e-4", "1.0e-4", "0.0001", '"1e-4"'])
def test_a_learning_rate_in_yaml_is_a_number(written: str) -> None:
    """PyYAML reads 1e-4 as a string; nobody means one."""
    assert snapshot(parse(f"learning_rate: {written}", "args.yaml", yaml=True)).optimizer.lr == 1e-4


def test_a_rank_given_as_text_is_a_number() -> None:
    """`"r": "64"` is rank 64, and so it is with spaces around it."""
    assert snapshot({"r": "64", "lora_alpha": " 128 "}).lora.alpha_over_r == 2.0


def test_a_flat_optimizer_name_is_a_name() -> None:
    """`optimizer: adamw` beside other flat settings does not make them nested ones."""
    read = snapshot({"optimizer": "adamw", "lr": 1e-4})
    assert (read.optimizer.name, read.optimizer.lr) == ("adamw", 1e-4)


@pytest.mark.parametrize("written", ["q_proj,v_proj", "q_proj v_proj", "q_proj, v_proj", ["q_proj", "v_proj"]])
def test_target_modules_are_a_list(written: str | list[str]) -> None:
    """Commas, spaces and lists name the same modules."""
    assert snapshot({"target_modules": written}).lora.target_modules == ["q_proj", "v_proj"]


@pytest.mark.parametrize("written", ["all-linear", r".*\.(q|v)_proj"])
def test_a_single_target_stays_one(written: str) -> None:
    """`all-linear` and a regular expression are one entry each."""
    assert snapshot({"target_modules": written}).lora.target_modules == [written]


def test_transformers_training_arguments_are_read() -> None:
    """Their names find their fields; what has none is kept under its own name."""
    read = snapshot(
        {
            "optim": "adamw_torch_fused", "learning_rate": 2e-4, "adam_beta1": 0.9, "adam_beta2": 0.95, "bf16": True,
            "per_device_train_batch_size": 4, "gradient_accumulation_steps": 8, "max_steps": -1, "num_train_epochs": 3,
            "evaluation_strategy": "steps", "load_best_model_at_end": False,
        }
    )  # fmt: skip
    assert (read.optimizer.name, read.optimizer.betas) == ("adamw_torch_fused", (0.9, 0.95))
    assert (read.training.batch_size, read.training.gradient_accumulation, read.training.epochs) == (4, 8, 3.0)
    assert (read.training.max_steps, read.training.dtype) == (None, "bfloat16")
    assert read.training.extras["eval_strategy"] == "steps"
    assert read.training.extras["load_best_model_at_end"] is False


@pytest.mark.parametrize(
    "written",
    [
        {"adapter": "lora", "lora_r": 32, "lora_alpha": 16, "lora_target_modules": ["q_proj"], "micro_batch_size": 2},
        {"lora_rank": 32, "lora_alpha": 16, "lora_target": "q_proj", "per_device_train_batch_size": 2},
    ],
)
def test_other_tools_names_are_read(written: dict[str, Any]) -> None:
    """The words of axolotl and LLaMA-Factory for the same settings."""
    read = snapshot(written)
    assert (read.lora.r, read.lora.alpha, read.lora.target_modules, read.training.batch_size) == (
        32,
        16.0,
        ["q_proj"],
        2,
    )


def test_the_nested_shape_is_read_as_it_is() -> None:
    """A `run_start.config` reads back as itself."""
    config = ConfigSnapshot.from_dict({"optimizer": {"lr": 1e-4}, "lora": {"r": 8}, "training": {"extras": {"x": 1}}})
    assert snapshot(config.to_dict()) == config


def test_long_and_nested_values_are_not_kept() -> None:
    """The extras hold settings, not data."""
    kept = canonical({"a": 1, "b": {"deep": 1}, "c": list(range(1000)), "d": ["x"]})["training"]["extras"]
    assert kept == {"a": 1, "d": ["x"]}


def test_the_first_source_wins_and_the_second_fills() -> None:
    """Absent, None, empty and "unknown" are filled; everything else stays."""
    first = {"task_profile": "unknown", "lora": {"r": 8, "alpha": None}, "model_name": "a"}
    second = {"task_profile": "generation", "lora": {"r": 16, "alpha": 32}, "model_name": "b"}
    assert fill(first, second) == {
        "task_profile": "generation",
        "lora": {"r": 8, "alpha": 32},
        "model_name": "a",
    }
