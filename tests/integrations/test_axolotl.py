"""Gradience in axolotl's own plugin manager; run where axolotl is installed, which wants a GPU's libraries."""

from pathlib import Path

import pytest

pytest.importorskip("axolotl.integrations.base")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the tools' own


def test_a_plugin_records_the_training(tmp_path: Path) -> None:
    """Named in the configuration as any other, with the callback's options under one key; a slip is one line."""
    from axolotl.integrations.base import PluginManager
    from axolotl.integrations.config import merge_input_args
    from axolotl.utils.dict import DictDefault

    from gradience.errors import InputError
    from gradience.vnext.telemetry_reader import TelemetryReader
    from tests.integrations.peft_adapters import llama

    plugins = PluginManager.get_instance()
    plugins.register("gradience_transformers.AxolotlPlugin")
    assert "gradience" in merge_input_args()[1].model_fields
    data = [{"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}] * 8
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=3, logging_steps=1, report_to=[], use_cpu=True, save_strategy="no"
    )
    trainer = transformers.Trainer(model=llama(), args=arguments, train_dataset=data)
    settings = DictDefault({"gradience": {"sinks": [], "path": str(tmp_path / "axolotl.jsonl")}})
    for callback in plugins.add_callbacks_post_trainer(settings, trainer):
        trainer.add_callback(callback)
    trainer.train()
    assert TelemetryReader(tmp_path / "axolotl.jsonl").summarize().counts["train_step"] == 3
    with pytest.raises(InputError, match=r"no option sink; did you mean sinks\?"):
        plugins.add_callbacks_post_trainer(DictDefault({"gradience": {"sink": "mlflow"}}), trainer)
