"""`gradience audit --base-model`: what is printed, and what is kept."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from gradience.audit import columns
from gradience.cli.main import group
from gradience.mirror import view
from gradience.policy import audit_event
from gradience.report.markdown import audit_note
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Metrics

SaveAdapter = Callable[..., Path]
NAMES = [f"model.layers.{i}.{kind}" for i in range(2) for kind in ("self_attn.q_proj", "mlp.up_proj")]


@pytest.fixture
def adapter(tmp_path: Path, save_adapter: SaveAdapter, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An adapter with σ₁ = 2 in every module; the cache is the test's own."""
    monkeypatch.setenv("GRADIENCE_CACHE_DIR", str(tmp_path / "cache"))
    return save_adapter(tmp_path / "adapter")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Its base model: ‖W‖₂ is 8 in attention, 4 in MLPs."""
    return _saved(tmp_path / "base", {name: torch.eye(32) * (8 if "attn" in name else 4) for name in NAMES})


def _saved(folder: Path, weights: dict[str, torch.Tensor], **config: Any) -> Path:
    folder.mkdir()
    save_file({f"{name}.weight": weight for name, weight in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _audit(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["audit", "--peft-dir", *map(str, arguments)])


def test_the_report_has_a_block_by_type(adapter: Path, base: Path) -> None:
    """With the largest module and the base's place; without a base there is none."""
    shown = _audit(adapter, "--base-model", base).stdout
    block = shown.partition("Against the base model")[2].splitlines()
    assert [line.split()[:5] for line in block[2:5]] == [
        ["attn", "2", "0.25", "0.25", "0.25"],
        ["mlp", "2", "0.5", "0.5", "0.5"],
        ["all", "4", "0.375", "0.5", "0.5"],
    ]
    assert "in model.layers.0.mlp.up_proj" in shown
    assert str(base) in shown
    assert "Against the base model" not in _audit(adapter).stdout


def test_the_document_has_the_public_fields(adapter: Path, base: Path) -> None:
    """At the top, by type, by layer, by target and in rows."""
    document = json.loads(_audit(adapter, "--base-model", base, "--layers", "--json").stdout)
    assert (document["base_path"], document["n_layers_with_udr"]) == (str(base), 4)
    assert (document["udr_mean"], document["udr_max"]) == pytest.approx((0.375, 0.5))
    assert (document["fraction_udr_gt_0_1"], document["fraction_udr_gt_0_3"]) == (1.0, 0.5)
    assert document["by_type"]["attn"]["sdi_median"] == pytest.approx(-0.602, abs=1e-3)
    assert [target["udr_p90"] for target in document["by_target"]] == pytest.approx([0.5, 0.25])
    row = document["layer_data"]["layer_rows"][0]
    assert (row["base_sigma_max"], row["udr"]) == pytest.approx((4, 0.5))
    assert row["udr_f"] == pytest.approx(row["delta_fro_norm"] / (4 * 32**0.5))


def test_without_a_base_nothing_is_said_of_one(adapter: Path) -> None:
    """Neither at the top nor in the groups, as in the public release."""
    document = json.loads(_audit(adapter, "--json").stdout)
    groups = [document, *document["by_type"].values(), *document["by_layer"], *document["by_target"]]
    assert not [key for one in groups for key in one if "udr" in key or "sdi" in key or key == "base_path"]


def test_modules_sort_by_what_is_new(adapter: Path, base: Path) -> None:
    """The column is shown."""
    shown = _audit(adapter, "--base-model", base, "--sort", "udr").stdout.splitlines()
    (header,) = [place for place, line in enumerate(shown) if line.split()[-1:] == ["udr"] and "surplus" in line]
    assert [line.split()[-1] for line in shown[header + 1 :]] == ["0.5", "0.5", "0.25", "0.25"]


def test_the_event_has_it_all_and_reads_back(adapter: Path, base: Path, tmp_path: Path) -> None:
    """A tracker shows the numbers under their names; the columns are there only with a base."""
    events = {}
    for name, options in (("without", ()), ("with", ("--base-model", base))):
        assert _audit(adapter, *options, "--telemetry", tmp_path / f"{name}.jsonl").exit_code == 0
        (events[name],) = [
            line
            for line in TelemetryReader(tmp_path / f"{name}.jsonl")
            if isinstance(line.event, Metrics) and line.event.kind == audit_event.KIND
        ]
    points = {point.key: point.value for point in view.points(events["with"])}
    assert points["lora_audit/udr_max"] == pytest.approx(0.5)
    assert points["lora_audit/attn/udr_median"] == pytest.approx(0.25)
    metrics = [getattr(events[name].event, "metrics") for name in ("without", "with")]  # noqa: B009 - a union's field
    assert set(metrics[1]["modules"]) - set(metrics[0]["modules"]) == {
        "base_sigma_max", "base_sigma_error", "base_fro_norm", "udr", "udr_f", "sdi",
    }  # fmt: skip
    assert columns.unpack(metrics[1]).modules[0].udr == pytest.approx(0.5)
    assert columns.unpack(metrics[0]).modules[0].udr is None


def test_a_trackers_note_has_a_table(adapter: Path, base: Path, tmp_path: Path) -> None:
    """From the event alone; without a base there is none."""
    notes = []
    for name, options in (("without", ()), ("with", ("--base-model", base))):
        _audit(adapter, *options, "--telemetry", tmp_path / f"{name}.jsonl")
        lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        (metrics,) = [line["metrics"] for line in lines if line["event"] == "metrics"]
        notes.append(audit_note(metrics, None).replace("\u00a0", ""))
    assert "Against the base model" not in notes[0]
    assert "| mlp | 2 | 0.5 | 0.5 | 0.5 |" in notes[1].partition("### Against the base model")[2]


def test_an_audit_against_a_base_is_another_audit(adapter: Path, base: Path, tmp_path: Path) -> None:
    """It is kept beside the one without; the same again is not."""
    journal = tmp_path / "run.jsonl"
    against = ("--base-model", base)
    for options in ((), against, against, ()):
        assert _audit(adapter, *options, "--telemetry", journal).exit_code == 0
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [line["metrics"].get("base_path") for line in lines if line["event"] == "metrics"] == [None, str(base)]


def test_a_quantised_base_is_a_note(adapter: Path, tmp_path: Path) -> None:
    """The rest of the audit is as ever."""
    quantised = _saved(
        tmp_path / "base", {name: torch.eye(32) for name in NAMES}, quantization_config={"quant_method": "gptq"}
    )
    result = _audit(adapter, "--base-model", quantised)
    assert result.exit_code == 0
    assert "base_quantised: the base model is quantised ('gptq')" in result.stdout
    assert "Against the base model" not in result.stdout


@pytest.mark.parametrize("name", ["missing", "adapter"])
def test_a_base_that_is_none_is_refused(adapter: Path, tmp_path: Path, name: str) -> None:
    """One line, before anything is measured or kept."""
    result = _audit(adapter, "--base-model", tmp_path / name, "--telemetry", tmp_path / "run.jsonl")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: cannot use the base model")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run.jsonl").exists()


def test_torch_is_not_imported(adapter: Path, base: Path) -> None:
    """Importing it takes longer than measuring a small base, and than looking a large one up."""
    script = (
        "import sys\n"
        "from gradience.audit import audit\n"
        f"record = audit({str(adapter)!r}, base_model={str(base)!r})\n"
        "print(record.summary.n_layers_with_udr, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("4 False\n", "")


def test_many_adapters_share_a_base(adapter: Path, base: Path, tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """Another base is not answered from the cache of audits, and one that is none is named in each row."""
    other = save_adapter(tmp_path / "other", needed=2)
    for place, code, word in (
        (base, 0, "2 measured"),
        (base, 0, "2 from the cache"),
        (tmp_path / "no", 1, "2 refused"),
    ):
        result = _audit(adapter, "--peft-dir", other, "--base-model", place)
        assert result.exit_code == code
        assert word in result.stderr
    assert result.stdout.count("cannot use the base model") == 2
    save_file({f"{name}.weight": torch.eye(32) for name in NAMES}, base / "model.safetensors")
    assert "2 measured" in _audit(adapter, "--peft-dir", other, "--base-model", base).stderr
