"""The one line of each stack, as the guide prints it, run with real and tiny things under the names that it uses."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

from gradience.vnext.telemetry_reader import TelemetryReader
from tests.integrations.peft_adapters import llama
from tests.integrations.trainings import steps

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the tools' own
GUIDE: Final = Path(__file__).parents[2] / "docs" / "training-stacks.md"
SNIPPETS: Final = dict(
    re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```py\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
)


def _run(stack: str, names: dict[str, Any]) -> None:
    exec(compile(SNIPPETS[stack], f"{GUIDE.name}: {stack}", "exec"), names)  # noqa: S102 - the guide's own


def test_every_stack_has_its_snippet() -> None:
    """Those that are run below, and the one of a tool that is not installed here, which compiles."""
    assert SNIPPETS.keys() == {"transformers", "Lightning", "accelerate", "LLaMA-Factory"}
    compile(SNIPPETS["LLaMA-Factory"], GUIDE.name, "exec")


def test_transformers(tmp_path: Path) -> None:
    """A Trainer with the callback."""
    transformers = pytest.importorskip("transformers")
    data = [{"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}] * 8
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=3, logging_steps=1, report_to=[], use_cpu=True, save_strategy="no"
    )
    _run("transformers", {"Trainer": transformers.Trainer, "model": llama(), "arguments": arguments, "data": data})
    assert [step.step for step in steps(tmp_path / "run.jsonl")] == [1, 2, 3]


def test_lightning(tmp_path: Path) -> None:
    """A Trainer with the callback; what the snippet leaves to the reader is set here."""
    pytest.importorskip("lightning")
    import functools

    import lightning.pytorch as pl
    import torch

    from tests.integrations.lightning_training import Module

    quiet: Any = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
    }
    trainer = functools.partial(pl.Trainer, default_root_dir=tmp_path, accelerator="cpu", max_epochs=1, **quiet)
    rows: Any = list(torch.randint(0, 16, (120, 4)))
    data = torch.utils.data.DataLoader(rows, batch_size=2)
    _run("Lightning", {"Trainer": trainer, "module": Module("whole"), "data": data})
    assert [step.step for step in steps(tmp_path / "run.jsonl")] == [50]


def test_accelerate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop with the tracker."""
    accelerate = pytest.importorskip("accelerate")
    monkeypatch.chdir(tmp_path)
    names = {
        "Accelerator": accelerate.Accelerator,
        "model": llama(),
        "batches": [1, 2, 3],
        "train": lambda batch: 1 / batch,
    }
    _run("accelerate", names)
    seen = TelemetryReader("run.jsonl").summarize()
    assert (seen.status, seen.last_step, seen.evals["val"].loss) == ("ok", 3, 0.7)
