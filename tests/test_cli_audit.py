import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from gradience.cli.main import group
from gradience.vnext.telemetry import TelemetryWriter

SaveAdapter = Callable[..., Path]


def _audit(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["audit", "--peft-dir", *map(str, arguments)])


@pytest.fixture
def adapter(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """An adapter of rank 16 whose update is of rank 4, in a checkpoint's folder."""
    return save_adapter(tmp_path / "out" / "checkpoint-30")


@pytest.fixture
def run(adapter: Path) -> Path:
    """The journal of the run that trained it."""
    path = adapter.parent / "run.jsonl"
    with TelemetryWriter(path, "run-1") as writer:
        writer.run_start({"training": {"max_steps": 30}})
        for step in range(1, 31):
            writer.train_step(step, loss=1.0 / step)
    return path


def test_an_adapter_is_reported_on(adapter: Path) -> None:
    """Verdict, finding, candidates and types on stdout; nothing is written anywhere."""
    before = sorted(adapter.parent.rglob("*"))
    result = _audit(adapter)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "verdict     review" in result.stdout
    assert result.stdout.splitlines()[-1].split()[:3] == ["all", "4", "4.1K"]
    assert sorted(adapter.parent.rglob("*")) == before


def test_exact_measures_every_module_by_qr(adapter: Path) -> None:
    """The method of each module is in its row, with the floor that its smallest values are right to."""
    ways = [("--json", "--layers"), ("--json", "--layers", "--exact")]
    fast, exact = (json.loads(_audit(adapter, *way).stdout)["layer_data"]["layer_rows"] for way in ways)
    assert {row["method"] for row in exact} == {"qr"}
    for one, other in zip(fast, exact, strict=True):
        assert other["delta_sigma_max"] == pytest.approx(one["delta_sigma_max"], rel=1e-12)
        assert 0 < other["sigma_floor"] < 1e-12


def test_the_document_has_the_public_fields(adapter: Path) -> None:
    """Summary fields at the top level, by_type, and rows on request only."""
    document = json.loads(_audit(adapter, "--json").stdout)
    assert (document["schema"], document["peft_dir"], document["n_layers"]) == ("gradience.audit/v1", str(adapter), 4)
    assert (document["suggested_rank"], document["advice"]["verdict"]) == (4, "review")
    assert set(document["by_type"]) == {"attn", "mlp"}
    assert "layer_data" not in document


@pytest.mark.parametrize(
    ("asked", "rows"), [(["--layers"], 4), (["--top-wasteful", "3"], 3), (["--top-wasteful", "0"], None)]
)
def test_rows_are_given_on_request(adapter: Path, asked: list[str], rows: int | None) -> None:
    """`layer_data.layer_rows`, all or the most surplus."""
    layers = json.loads(_audit(adapter, "--json", *asked).stdout).get("layer_data")
    assert (None if layers is None else len(layers["layer_rows"])) == rows


def test_a_path_that_is_no_text_still_makes_one_document(adapter: Path) -> None:
    """JSON is UTF-8, whatever the names of files are made of."""
    odd = adapter.rename(adapter.with_name(os.fsdecode(b"odd\xff")))
    printed = _audit(odd, "--json").stdout_bytes.decode()
    assert json.loads(printed)["peft_dir"].endswith("odd\\udcff")


def test_json_is_short_for_format_json(adapter: Path) -> None:
    """The same document; what contradicts it is a usage error."""
    assert _audit(adapter, "--format", "json").stdout == _audit(adapter, "--json").stdout
    assert _audit(adapter, "--json", "--format", "json").exit_code == 0
    assert _audit(adapter, "--json", "--format", "csv").exit_code == 2


def test_csv_is_nothing_but_the_table(adapter: Path) -> None:
    """One header, one row per module, no colour and no talk, whatever else is asked for."""
    result = _audit(adapter, "--format", "csv", "--verbose", "--sort", "name", "--filter", "*q_proj")
    lines = result.stdout.splitlines()
    assert (result.exit_code, result.stderr, len(lines)) == (0, "", 3)
    assert lines[0].startswith("peft_dir,name,")
    assert lines[1].startswith(f"{adapter},model.layers.0.self_attn.q_proj,")


@pytest.mark.parametrize("asked", [["--filter", "*.1.*"], ["--sort", "stable_rank"], ["--layers"]])
def test_modules_are_shown_where_they_are_asked_for(adapter: Path, asked: list[str]) -> None:
    """Filtering or sorting asks for them as --layers does; the sums stay those of all four."""
    text, document = _audit(adapter, *asked).stdout, json.loads(_audit(adapter, "--json", *asked).stdout)
    assert "model.layers.1.mlp.up_proj" in text
    assert ("By layer" in text) is (asked == ["--layers"])
    assert document["n_layers"] == 4
    assert len(document["layer_data"]["layer_rows"]) == (2 if "--filter" in asked else 4)


def test_a_filter_that_matches_nothing_keeps_nothing(adapter: Path, run: Path) -> None:
    """Exit code 1 before anything is written, in every format."""
    before = run.read_bytes()
    for form in ("text", "csv", "json"):
        result = _audit(adapter, "--filter", "nothing", "--format", form, "--append", run)
        assert (result.exit_code, result.stdout) == (1, "")
    assert run.read_bytes() == before


def test_sorting_by_what_is_no_measure_is_a_usage_error(adapter: Path) -> None:
    """The line names all there are."""
    result = _audit(adapter, "--sort", "size")
    assert result.exit_code == 2
    assert "nuclear_rank" in result.stderr


def test_a_rank_is_suggested_for_every_module(adapter: Path) -> None:
    """A table and settings to paste, with the same numbers in the document; --filter narrows the table only."""
    result = _audit(adapter, "--suggest-per-layer", "--filter", "*.0.*").stdout
    block = result.split("Suggested rank per module")[1].split("Notes")[0]
    assert ("model.layers.0.mlp.up_proj" in block, "model.layers.1.mlp.up_proj" in block) == (True, False)
    assert json.loads(block[block.index("{") :]) == {"r": 4, "lora_alpha": 8, "rank_pattern": {}, "alpha_pattern": {}}
    document = json.loads(_audit(adapter, "--suggest-per-layer", "--json").stdout)
    assert [row["suggested_rank"] for row in document["module_ranks"]["modules"]] == [4] * 4
    assert _audit(adapter, "--suggest-per-layer", "--format", "csv").exit_code == 2


def test_no_rank_is_suggested_where_advice_is_withheld(save_adapter: SaveAdapter, tmp_path: Path) -> None:
    """Of an untrained adapter there is nothing to say."""
    untrained = save_adapter(tmp_path / "a", needed=0)
    assert "None: rank advice is withheld" in _audit(untrained, "--suggest-per-layer").stdout
    assert json.loads(_audit(untrained, "--suggest-per-layer", "--json").stdout)["module_ranks"] is None


def test_a_file_of_another_tool_is_reported_on_and_kept(tmp_path: Path) -> None:
    """The tool is named; there are no settings to paste; the new journal says what there is to say without a config."""
    file = tmp_path / "style.safetensors"
    save_file({f"lora_unet_mid.lora_{side}.weight": torch.eye(4) for side in ("down", "up")}, file)
    result = _audit(file, "--telemetry", tmp_path / "run.jsonl", "--suggest-per-layer")
    assert result.exit_code == 0
    assert "LoraConfig" not in result.stdout
    assert "LORA of kohya r=4 alpha=4, 1 modules" in result.stdout
    start = json.loads((tmp_path / "run.jsonl").read_text().splitlines()[0])
    assert start["meta"]["output_dir"] == str(tmp_path)


def test_experts_get_one_rank_together(save_adapter: SaveAdapter, tmp_path: Path) -> None:
    """By the path of their parameter; --filter finds it by the name of any of them."""
    adapter = save_adapter(tmp_path / "a", target_modules=[], target_parameters=["q_proj.w", "up_proj.w"], r=16)
    path = adapter / "adapter_config.json"
    path.write_text(path.read_text().replace('"r": 16', '"r": 8'))
    said = _audit(adapter, "--suggest-per-layer", "--filter", "*q_proj.w[[]1]").stdout
    assert "model.layers.0.self_attn.q_proj.w (2 share it)" in said.split("Suggested rank per module")[1]


def test_a_higher_energy_level_asks_for_more_rank(save_adapter: SaveAdapter, tmp_path: Path) -> None:
    """The level is recorded with the result."""
    adapter = save_adapter(tmp_path / "a", r=16, needed=8)
    levels = [json.loads(_audit(adapter, "--json", "--energy-level", level).stdout) for level in ("0.45", "0.95")]
    assert [(one["energy_level"], one["suggested_rank_p90"]) for one in levels] == [(0.45, 4), (0.95, 8)]


def test_the_adapter_before_training_is_subtracted(save_adapter: SaveAdapter, tmp_path: Path) -> None:
    """--initial names it; without it an adapter that began from a piece of the base is refused."""
    after = save_adapter(tmp_path / "after", needed=16, init_lora_weights="pissa")
    before = save_adapter(tmp_path / "before", needed=4)
    assert "--initial DIR" in _audit(after).stderr
    document = json.loads(_audit(after, "--initial", before, "--json", "--layers").stdout)
    assert (document["adapter"]["initial"], document["advice"]["verdict"]) == (str(before), "abstain")
    assert {row["r"] for row in document["layer_data"]["layer_rows"]} == {32}


def test_an_untrained_adapter_fails_the_bar_for_errors(save_adapter: SaveAdapter, tmp_path: Path) -> None:
    """Exit code 3 with the reason on stderr; without a bar 0."""
    adapter = save_adapter(tmp_path / "a", needed=0)
    assert _audit(adapter).exit_code == 0
    result = _audit(adapter, "--fail-on", "error")
    assert (result.exit_code, result.stderr) == (3, "--fail-on error: adapter_untrained\n")


def test_the_audit_is_appended_to_the_run(adapter: Path, run: Path) -> None:
    """--append: two events more, at the checkpoint's step; a second time says that it is there."""
    lines = len(run.read_text().splitlines())
    assert _audit(adapter, "--append", run).stderr == f"Appended the audit to {run} (run run-1)\n"
    again = _audit(adapter, "--append", run)
    assert again.stderr == f"The same audit of this adapter is already in {run} (run run-1)\n"
    events = [json.loads(line) for line in run.read_text().splitlines()]
    assert [(event["event"], event["step"]) for event in events[lines:]] == [("metrics", 30), ("recommendation", 30)]


def test_a_failed_audit_appends_nothing(run: Path, tmp_path: Path) -> None:
    """Exit code 1, one line, and the file as it was."""
    before = run.read_bytes()
    result = _audit(tmp_path / "gone", "--append", run)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert run.read_bytes() == before


def test_a_file_that_is_no_telemetry_is_refused_before_any_work(adapter: Path, tmp_path: Path) -> None:
    """Nothing on stdout, nothing written."""
    victim = tmp_path / "victim.py"
    victim.write_text("import os\n")
    result = _audit(adapter, "--append", victim)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not a telemetry file" in result.stderr
    assert victim.read_text() == "import os\n"


def test_a_new_journal_is_made_where_telemetry_says(adapter: Path, tmp_path: Path) -> None:
    """--telemetry makes the file, and appends the next time."""
    path = tmp_path / "telemetry" / "new.jsonl"
    assert _audit(adapter, "--telemetry", path).exit_code == 0
    assert _audit(adapter, "--telemetry", path, "--energy-level", "0.9").exit_code == 0
    events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert events == ["run_start", "metrics", "recommendation", "run_end", "metrics", "recommendation"]


def test_an_early_checkpoint_of_the_run_is_not_advised_on(save_adapter: SaveAdapter, run: Path) -> None:
    """The journal's plan is known when the advice is made."""
    early = save_adapter(run.parent / "checkpoint-3")
    assert json.loads(_audit(early, "--append", run, "--json").stdout)["advice"]["verdict"] == "abstain"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--log-to", "nowhere"], 1, "No sink named 'nowhere'"),
        (["--log-to", "wandb", "--run", "https://wandb.ai/me/p/runs/1"], 1, "names no W&B run: give it as ID,"),
        (["--experiment", "x"], 2, "give --log-to as well"),
        (["--append", "a", "--telemetry", "b"], 2, "not both"),
        (["--fail-on", "eror"], 2, "no severity and no code"),
        (["--energy-level", "0"], 2, "--energy-level"),
    ],
)
def test_a_wrong_option_is_told_before_any_work(adapter: Path, arguments: list[str], code: int, said: str) -> None:
    """Nothing on stdout, no journal; the line says what is wrong."""
    result = _audit(adapter, *arguments)
    assert (result.exit_code, result.stdout, list(adapter.glob("*.jsonl"))) == (code, "", [])
    assert said in result.stderr


SINK = """
    import json, os
    from pathlib import Path
    from gradience.errors import UnavailableError
    from gradience.mirror.sink import Tracked

    class FileSink:
        name = "file"
        process_env = {}

        def __init__(self, *, tracking_uri=None):
            self.target = str(tracking_uri)

        def open(self, run):
            if not os.path.isdir(self.target):
                raise UnavailableError("nobody is there")
            self.file = Path(self.target, run.run_id)
            return Tracked(id=run.run_id, url=f"file://{self.file}")

        def deliver(self, batch):
            with self.file.open("ab") as out:
                out.writelines(record.raw for record in batch.records)

        def close(self, status, timeout_s):
            pass
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with somebody else's distribution that offers the sink `file`."""
    folder = tmp_path / "site"
    about = folder / "filesink-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "filesink.py").write_text(dedent(SINK))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: filesink\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[gradience.sinks]\nfile = filesink:FileSink\n")
    return folder


def _fresh(site: Path, adapter: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gradience", "audit", "--peft-dir", str(adapter), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(site)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _tracker_events(folder: Path) -> list[Any]:
    return [json.loads(line)["event"] for file in folder.iterdir() for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_the_run_is_mirrored_with_its_audit(site: Path, adapter: Path, run: Path, tmp_path: Path) -> None:
    """The journal above the adapter is found and delivered; where to look is said, twice delivers once."""
    tracker = tmp_path / "tracker"
    tracker.mkdir()
    done = [_fresh(site, adapter, "--log-to", "file", "--tracking-uri", tracker) for _ in range(2)]
    assert [one.returncode for one in done] == [0, 0]
    assert done[0].stderr.splitlines() == [
        f"Appended the audit to {run} (run run-1)",
        f"file: run run-1  file://{tracker / 'run-1'}",
    ]
    assert _tracker_events(tracker)[-3:] == ["run_end", "metrics", "recommendation"]
    assert len(_tracker_events(tracker)) == 30 + 4


@pytest.mark.slow
def test_the_run_is_mirrored_into_the_sinks_of_a_file(site: Path, adapter: Path, run: Path, tmp_path: Path) -> None:
    """Each as its entry says; what is behind is caught up by the same file, and its options show nowhere."""
    (tmp_path / "one").mkdir()
    file = tmp_path / "sinks.yaml"
    file.write_text(
        f"- {{type: file, tracking_uri: {tmp_path}/one, events: [recommendation]}}\n"
        f"- {{type: file, name: the other, tracking_uri: {tmp_path}/none, options: }}\n"
    )
    done = _fresh(site, adapter, "--sinks", file, "--deadline", "0.5", "--strict")
    assert done.returncode == 4
    _, first, second = done.stderr.splitlines()
    assert first == f"file: run run-1  file://{tmp_path / 'one' / 'run-1'}"
    assert second.startswith("the other is behind (")
    assert second.endswith(f"catch up with: gradience sync {run} --sinks {file}")
    assert set(_tracker_events(tmp_path / "one")) == {"run_start", "left_out", "run_end", "recommendation"}


@pytest.mark.slow
def test_a_tracker_that_is_down_loses_nothing(site: Path, adapter: Path, run: Path, tmp_path: Path) -> None:
    """The report is on screen, the events are on disk, one line says what catches up; exit code 4 only if strict."""
    away = ("--log-to", "file", "--tracking-uri", tmp_path / "tracker", "--deadline", "0.5")
    done = _fresh(site, adapter, *away)
    assert done.returncode == 0
    assert "verdict     review" in done.stdout
    assert f"gradience sync {run} --to file --tracking-uri {tmp_path / 'tracker'}" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert json.loads(run.read_text().splitlines()[-1])["event"] == "recommendation"
    assert _fresh(site, adapter, *away, "--strict").returncode == 4


@pytest.mark.slow
def test_without_a_journal_one_is_made_beside_the_adapter(site: Path, adapter: Path, tmp_path: Path) -> None:
    """`run.jsonl` in the adapter's directory; the document says where everything is."""
    tracker = tmp_path / "tracker"
    tracker.mkdir()
    done = _fresh(site, adapter, "--log-to", "file", "--tracking-uri", tracker, "--json")
    document = json.loads(done.stdout)
    assert (document["journal"], document["added"]) == (str(adapter / "run.jsonl"), True)
    assert document["trackers"][0]["up_to_date"] is True
    assert _tracker_events(tracker) == ["run_start", "metrics", "recommendation", "run_end"]


def test_an_adapter_that_is_not_finite_is_an_alert_on_its_run(adapter: Path, run: Path) -> None:
    """Once and as the verdict, though nothing can be measured and the command fails; monitor can be asked for it."""
    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor * math.nan for name, tensor in tensors.items()}, weights)
    for _ in range(2):
        result = _audit(adapter, "--append", run)
        assert (result.exit_code, "NaN or infinity in 4 of 4 modules" in result.stderr) == (1, True)
    (alert,) = [line for line in map(json.loads, run.read_text().splitlines()) if line["event"] == "alert"]
    assert (alert["code"], alert["severity"], alert["step"]) == ("adapter_nonfinite", "error", 30)
    assert alert["context"]["count"] == 4
    (advice,) = [line for line in map(json.loads, run.read_text().splitlines()) if line["event"] == "recommendation"]
    assert (advice["verdict"], advice["codes"], advice["suggested_rank"]) == ("error", ["adapter_nonfinite"], None)
    bars = {"adapter_nonfinite": 3, "adapter_nonfinit": 2}
    assert {bar: CliRunner().invoke(group, ["monitor", str(run), "--fail-on", bar]).exit_code for bar in bars} == bars
