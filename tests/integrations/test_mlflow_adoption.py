"""Tests of `gradience_mlflow.adoption` with a run that the Trainer's own callback tracked."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mlflow import MlflowClient

for library in ("mlflow", "transformers", "peft", "accelerate"):
    pytest.importorskip(library)

TRAINING = """
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
lora = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
data = [{"input_ids": torch.arange(8), "labels": torch.arange(8)}] * 8
args = TrainingArguments(output_dir="out", max_steps=2, save_steps=2, report_to=["mlflow"], use_cpu=True)
Trainer(get_peft_model(LlamaForCausalLM(config), lora), args, train_dataset=data).train()
"""


@pytest.mark.slow
def test_an_audit_lands_on_the_run_of_the_trainers_own_callback(
    store_uri: str, client: "MlflowClient", tmp_path: Path
) -> None:
    """Nothing of ours was there at training time: the logged output_dir tells, and the run stays as it ended."""
    environ = {**os.environ, "MLFLOW_TRACKING_URI": store_uri, "HF_HUB_OFFLINE": "1"}
    audit = [sys.executable, "-m", "gradience", "audit", "--peft-dir", "out/checkpoint-2", "--log-to", "mlflow"]
    subprocess.run([sys.executable, "-c", TRAINING], cwd=tmp_path, env=environ, check=True, capture_output=True)
    (before,) = client.search_runs(["0"])
    for _ in range(2):
        subprocess.run(audit, cwd=tmp_path, env=environ, check=True, capture_output=True)
    (after,) = client.search_runs(["0"])
    assert dict(after.info) == dict(before.info)
    assert after.data.params.items() >= before.data.params.items()
    assert after.data.metrics["lora_audit/utilization_mean"] > 0
    assert after.data.tags["gradience.verdict"]
