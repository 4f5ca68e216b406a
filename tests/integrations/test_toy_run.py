"""The toy run: a real PEFT fine-tune that learns, is recorded, and leaves an adapter worth auditing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gradience import audit
from gradience.cli.main import group
from gradience.policy import ranks
from gradience.vnext.telemetry_reader import TelemetryReader

pytest.importorskip("peft")
pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "examples" / "vnext" / "toy_lora_run.py"


def run(out: Path, *options: str) -> Path:
    """Run the example into `out` and return its journal."""
    subprocess.run([sys.executable, SCRIPT, "--out", out, "--device", "cpu", *options], check=True, timeout=280)
    return out / "run.jsonl"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one full toy run."""
    out = tmp_path_factory.mktemp("toy") / "toy_run"
    run(out)
    return out


def accuracies(journal: Path, split: str) -> list[float]:
    """The accuracy of each evaluation of `split`, in order."""
    events = [record.payload for record in TelemetryReader(journal).iter_events("eval")]
    return [event["metrics"]["accuracy"] for event in events if event["split"] == split]


def test_it_learns(toy: Path) -> None:
    """From chance to well above it, on sentences that it was not trained on."""
    measured = accuracies(toy / "run.jsonl", "test")
    assert measured[0] == pytest.approx(0.5, abs=0.1)
    assert measured[-1] > 0.9


def test_its_telemetry_is_complete(toy: Path) -> None:
    """Configuration, every step and both splits are there, nothing is wrong, and the run ended well."""
    reader = TelemetryReader(toy / "run.jsonl")
    config, summary = reader.latest_config(), reader.summarize()
    assert config is not None
    assert (config.lora.r, config.optimizer.lr) == (16, 1e-3)
    assert summary.status == "ok"
    assert sum(1 for _ in reader.iter_events("train_step")) == 800
    assert len(accuracies(toy / "run.jsonl", "train")) == len(accuracies(toy / "run.jsonl", "test")) == 17
    assert reader.issues == []


def test_its_rank_is_larger_than_it_needs(toy: Path) -> None:
    """95 % of the energy of 90 % of the modules fits in half of the rank, so the audit has something true to say."""
    suggestion = ranks.suggest(audit.audit(toy / "peft"))
    assert suggestion.current_r == 16
    assert suggestion.suggested_rank is not None
    assert suggestion.suggested_rank <= 8


def test_its_story_is_true(toy: Path, store_uri: str) -> None:
    """Over-provisioned, says the audit; cut as it suggests, it answers fresh sentences as well; MLflow tells it all."""
    from mlflow import MlflowClient

    def say(*arguments: object) -> str:
        done = CliRunner().invoke(group, [str(one) for one in arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    small = toy / "compressed"
    say("audit", "--peft-dir", toy / "peft", "--append", toy / "run.jsonl")
    say("compress", "--peft-dir", toy / "peft", "--out", small)
    command = f"{sys.executable} {SCRIPT.with_name('toy_eval.py')} --adapter {{adapter}}"
    shown = ["--log-to", "mlflow", "--tracking-uri", store_uri, "--strict", "--json"]
    told = json.loads(say("verify", "--original", toy / "peft", "--compressed", small, "--command", command, *shown))
    assert (told["verified"], told["standard_error_from"], told["adapter"]["r"]) == ("pass", "examples", 16)
    assert small.joinpath("adapter_model.safetensors").stat().st_size < 100_000
    found = MlflowClient(store_uri).get_run(told["trackers"][0]["tracked"]["id"]).data
    rank = str(told["compressed_adapter"]["r"])
    tags = {key: found.tags[f"gradience.{key}"] for key in ("verdict", "suggestion", "suggested_rank", "verified")}
    assert tags == {"verdict": "review", "suggestion": "compress", "suggested_rank": rank, "verified": "pass"}
    assert "over_provisioned" in found.tags["gradience.codes"].split(",")
    assert found.metrics["lora_audit/verified_delta"] == told["delta"]
    assert "verdict     pass" in say("monitor", toy / "run.jsonl")


def test_its_settings_are_where_check_looks(toy: Path) -> None:
    """The settings stand under the names that the Trainer gives them."""
    arguments = json.loads((toy / "training" / "training_args.json").read_text(encoding="utf-8"))
    assert (arguments["learning_rate"], arguments["max_steps"]) == (1e-3, 800)


def test_its_long_text_stays_private(toy: Path) -> None:
    """The description of the task is over the limit, so only its length is recorded."""
    assert "A tiny Llama first reads" not in (toy / "run.jsonl").read_text(encoding="utf-8")


def test_a_second_run_is_a_new_run_in_the_same_file(tmp_path: Path) -> None:
    """The example trains from scratch each time, so it continues no earlier run; allowed text is recorded."""
    run(tmp_path / "out", "--steps", "2")
    journal = run(tmp_path / "out", "--steps", "3", "--telemetry-allow-text")
    reader = TelemetryReader(journal)
    assert len(list(reader.runs())) == 2
    assert sum(1 for _ in reader.iter_events("train_step")) == 3
    assert "A tiny Llama first reads" in journal.read_text(encoding="utf-8")
