"""The audit of what transformers' Trainer and PEFT really leave in an output directory."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from gradience.audit import audit  # noqa: E402
from gradience.cli.main import group  # noqa: E402
from gradience.errors import AdapterError  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # transformers' and PEFT's own, about each other
]


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve steps of a random Llama, a checkpoint every fourth, evaluated; nothing is saved at the end."""
    folder: Path = tmp_path_factory.mktemp("trainer") / "out"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _trainer(folder).train()
    return folder


def _trainer(folder: Path) -> Any:
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
    )
    settings = peft.LoraConfig(r=8, target_modules=["q_proj", "down_proj"])
    model = peft.get_peft_model(transformers.LlamaForCausalLM(config), settings)
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(0, 64, (48, 8))]
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=12,
        save_steps=4,
        eval_steps=4,
        save_strategy="steps",
        eval_strategy="steps",
        metric_for_best_model="eval_loss",
        learning_rate=0.02,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    return transformers.Trainer(model=model, args=arguments, train_dataset=rows, eval_dataset=rows[:8])


def test_the_latest_and_the_best_checkpoint_are_named(output_dir: Path) -> None:
    """As the Trainer's own state has them."""
    state = json.loads((output_dir / "checkpoint-12" / "trainer_state.json").read_text())
    best = output_dir / Path(state["best_model_checkpoint"]).name
    with pytest.raises(AdapterError) as caught:
        audit(output_dir)
    said = str(caught.value).partition("audit the latest one")[2]
    assert f", {output_dir / 'checkpoint-12'}" in said
    assert f"the best by evaluation, {best}" in said


def test_all_checkpoints_are_audited(output_dir: Path) -> None:
    """The update grows with the steps."""
    arguments = ["audit", "--peft-dir", str(output_dir), "--all-checkpoints", "--json"]
    points = json.loads(CliRunner().invoke(group, arguments).stdout)["points"]
    norms = [point["delta_frob_norm_scaled_mean"] for point in points]
    assert [point["step"] for point in points] == [4, 8, 12]
    assert 0 < norms[0] < norms[1] < norms[2]


def test_a_checkpoint_knows_its_step(output_dir: Path) -> None:
    """From its folder's name."""
    assert audit(output_dir / "checkpoint-8").adapter.step == 8
