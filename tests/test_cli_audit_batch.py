import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradience.cli.main import group
from gradience.testing import folder
from gradience.vnext import runs
from gradience.vnext.telemetry import TelemetryWriter

SaveAdapter = Callable[..., Path]
MANY = 150


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The working directory and the cache are this test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADIENCE_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def hub(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """Three adapters of which `b/wide` has the most surplus, and one that is refused."""
    save_adapter(tmp_path / "hub/a/tight", needed=12)
    save_adapter(tmp_path / "hub/a/broken", peft_type="IA3")
    save_adapter(tmp_path / "hub/b/wide", needed=1)
    save_adapter(tmp_path / "hub/b/half", needed=8)
    return tmp_path / "hub"


def _audit(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["audit", *map(str, arguments)])


def test_a_directory_of_adapters_is_a_table(hub: Path) -> None:
    """Most surplus first, the refused below with their reason; exit code 1, since one could not be used."""
    result = _audit("--peft-dir", hub)
    assert (result.exit_code, result.stderr) == (
        1,
        "Audited 3 of 4 adapters: 3 measured, 0 from the cache, 1 refused\n",
    )
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines[6:9]] == [["b/wide", "review"], ["b/half", "review"], ["a/tight", "ok"]]
    assert lines[11].split()[:2] == ["refused", "a/broken:"]


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    "places", [["hub/b"], ["hub/b/wide", "hub/b/half"], ["hub/b/*"], ["hub/*/wide", "hub/b/half", "hub/b"]]
)
def test_however_they_are_named_each_is_there_once(places: list[str]) -> None:
    """Repeated, a directory or a pattern; none is refused, so 0."""
    result = _audit("--json", *(part for place in places for part in ("--peft-dir", place)))
    assert result.exit_code == 0
    assert [Path(one["peft_dir"]).name for one in json.loads(result.stdout)["adapters"]] == ["wide", "half"]


@pytest.mark.usefixtures("hub")
def test_the_document_has_totals_and_options() -> None:
    """One JSON document, versioned."""
    document = json.loads(_audit("--peft-dir", "hub", "--json", "--energy-level", "0.9").stdout)
    assert document["schema"] == "gradience.audit_table/v1"
    assert document["options"]["energy_level"] == 0.9
    assert document["totals"] == {"adapters": 4, "refused": 1, "params": 3 * 4096, "surplus_params": 3840 + 2048 + 1024}
    assert [one["error"] is None for one in document["adapters"]] == [True, True, True, False]


def test_every_option_of_the_audit_is_told(hub: Path, save_adapter: SaveAdapter, tmp_path: Path) -> None:
    """Paths as text."""
    initial = save_adapter(tmp_path / "initial", needed=2)
    document = json.loads(_audit("--peft-dir", hub / "b", "--initial", initial, "--exact", "--json").stdout)
    assert (document["options"]["initial"], document["options"]["exact"]) == (str(initial), True)
    assert document["totals"]["refused"] == 0


@pytest.mark.usefixtures("hub")
def test_options_are_told_without_credentials() -> None:
    """As the references of adapters are."""
    document = json.loads(_audit("--peft-dir", "hub", "--base-model", "s3://me:hunter2@bucket/x", "--json").stdout)
    assert document["options"]["base_model"] == "s3://[REDACTED]@bucket/x"


@pytest.mark.usefixtures("hub")
def test_json_lines_come_one_by_one() -> None:
    """The same rows as in the document, each with its own schema."""
    lines = [json.loads(line) for line in _audit("--peft-dir", "hub", "--format", "jsonl").stdout.splitlines()]
    assert {one.pop("schema") for one in lines} == {"gradience.audit_row/v1"}
    rows = json.loads(_audit("--peft-dir", "hub", "--format", "json").stdout)["adapters"]
    assert sorted(lines, key=lambda one: one["name"]) == sorted(rows, key=lambda one: one["name"])


@pytest.mark.usefixtures("hub")
def test_csv_pipes_well() -> None:
    """Nothing but the table on stdout."""
    read = list(csv.DictReader(io.StringIO(_audit("--peft-dir", "hub", "--format", "csv").stdout)))
    assert [one["name"] for one in read] == ["b/wide", "b/half", "a/tight", "a/broken"]


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("key", "first"), [("name", "a/broken"), ("-name", "b/wide"), ("utilization", "a/tight"), ("r", "a/tight")]
)
def test_any_column_sorts(key: str, first: str) -> None:
    """As modules are sorted; what is not known stands last."""
    read = list(csv.DictReader(io.StringIO(_audit("--peft-dir", "hub", "--format", "csv", "--sort", key).stdout)))
    assert read[0]["name"] == first
    assert (read[-1]["name"] == "a/broken") == (key != "name")


@pytest.mark.usefixtures("hub")
def test_the_first_rows_are_the_same_in_every_form() -> None:
    """--top-wasteful cuts the table, never the totals nor a refusal."""
    asked = ["--peft-dir", "hub", "--top-wasteful", "1"]
    document = json.loads(_audit(*asked, "--json").stdout)
    names = [one["name"] for one in document["adapters"]]
    assert (names, document["totals"]["adapters"]) == (["b/wide", "a/broken"], 4)
    assert [one["name"] for one in csv.DictReader(io.StringIO(_audit(*asked, "--format", "csv").stdout))] == names


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("place", ["hub", "hub/b/wide"])
def test_sarif_is_for_one_and_for_many(place: str) -> None:
    """Locations are relative to the working directory."""
    log = json.loads(_audit("--peft-dir", place, "--format", "sarif").stdout)
    places = {
        one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for one in log["runs"][0]["results"]
        if one["ruleId"] == "over_provisioned"
    }
    assert "hub/b/wide/adapter_config.json" in places


@pytest.mark.usefixtures("hub")
def test_a_table_of_one_row_has_no_baseline_either() -> None:
    """An option that a table cannot honour is refused, not passed over."""
    result = _audit("--peft-dir", "hub/b/wide", "--format", "sarif", "--baseline", "hub/b/half")
    assert (result.exit_code, "as text, csv or json" in " ".join(result.stderr.split())) == (2, True)


@pytest.mark.usefixtures("hub")
def test_what_was_measured_is_kept() -> None:
    """With the same table; `--no-cache` measures again, and so do other options."""
    first = _audit("--peft-dir", "hub")
    again = _audit("--peft-dir", "hub")
    assert again.stdout == first.stdout
    assert "0 measured, 3 from the cache" in again.stderr
    assert "3 measured" in _audit("--peft-dir", "hub", "--no-cache").stderr
    assert "3 measured" in _audit("--peft-dir", "hub", "--energy-level", "0.9").stderr


@pytest.mark.usefixtures("hub")
def test_a_cache_that_was_named_and_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line; one that was only found by default costs the keeping."""
    Path("file").touch()
    monkeypatch.setenv("GRADIENCE_CACHE_DIR", "file")
    result = _audit("--peft-dir", "hub/b")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert result.stderr.endswith("mend GRADIENCE_CACHE_DIR, or give --no-cache\n")
    monkeypatch.delenv("GRADIENCE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("file").absolute()))
    result = _audit("--peft-dir", "hub/b")
    assert (result.exit_code, result.stderr.startswith("Audits are not kept for another time: ")) == (0, True)


@pytest.mark.usefixtures("hub")
def test_findings_of_any_adapter_meet_the_bar() -> None:
    """Exit code 3; but 1 where an adapter could not be used."""
    result = _audit("--peft-dir", "hub/b", "--fail-on", "over_provisioned")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (3, "--fail-on over_provisioned: over_provisioned")
    assert _audit("--peft-dir", "hub", "--fail-on", "over_provisioned").exit_code == 1


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (["--layers"], "one row each"),
        (["--filter", "*"], "one row each"),
        (["--sort", "stable_rank"], "for the modules of one adapter"),
        (["--append", "run.jsonl"], "--log-to, which finds the journal of each"),
        (["--telemetry", "run.jsonl"], "--log-to, which finds the journal of each"),
        (["--log-to", "memory", "--run", "1"], "--run names one tracked run"),
        (["--format", "jsonl", "--sort", "r"], "has all rows in no order"),
        (["--format", "sarif", "--top-wasteful", "1"], "has all rows in no order"),
        (["--baseline", "hub/b/wide"], "--baseline is held against one adapter"),
        (["--all-checkpoints"], "takes the output directory of one training"),
        (["--parallel-backend", "dask"], "need each other"),
        (["--address", "tcp://127.0.0.1:1"], "need each other"),
    ],
)
def test_options_for_one_adapter_are_usage_errors(asked: list[str], reason: str) -> None:
    """Before any work is done."""
    result = _audit("--peft-dir", "hub", *asked)
    assert (result.exit_code, reason in " ".join(result.stderr.split())) == (2, True)


@pytest.mark.slow
def test_each_audit_lands_on_its_own_run(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if they were called one by one: on the run found in its folder, or on a new one beside the adapter; once."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    Path("tracker").mkdir()
    with TelemetryWriter(hub / "b/wide/run.jsonl", "run-b") as writer:
        writer.run_start({"training": {"max_steps": 30}})
    to = ["--log-to", "gradience.testing.folder:FolderSink", "--tracking-uri", str(Path("tracker").absolute())]
    first = _audit("--peft-dir", hub, *to)
    assert first.exit_code == 1
    journals = sorted(hub.rglob("*.jsonl"))
    assert [path.parent.name for path in journals] == ["tight", "half", "wide"]
    assert set(folder.runs(Path("tracker"))) == {found.run_id for path in journals if (found := runs.last(path))}
    events = [json.loads(line)["event"] for line in journals[-1].read_text().splitlines()]
    assert events == ["run_start", "run_end", "metrics", "recommendation"]
    again = _audit("--peft-dir", hub, *to)
    assert again.stdout == first.stdout
    assert again.stderr.count("The same audit of this adapter is already in") == 3


@pytest.fixture
def many(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """More different adapters than a pipe that nobody reads takes rows of."""
    for number in range(MANY):
        save_adapter(tmp_path / f"many/a{number:03}", needed=1 + number % 15, lora_alpha=16 + number)
    return tmp_path / "many"


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_batch_that_was_killed_does_only_the_rest(many: Path, jobs: str) -> None:
    """SIGKILL in the middle: whatever is kept is not measured again, and nothing half-written is believed."""
    pytest.importorskip("joblib")
    command = [sys.executable, "-m", "gradience", "audit", "--peft-dir", str(many), "--format", "jsonl", "--jobs", jobs]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as killed:
        assert killed.stdout
        assert json.loads(killed.stdout.readline())["verdict"] in ("review", "ok")
        killed.kill()
    kept = _settled(Path("cache/audits"))
    assert 1 <= kept <= (MANY - 1 if jobs == "1" else MANY)
    result = _audit("--peft-dir", many, "--jobs", "1")
    told = f"Audited {MANY} of {MANY} adapters: {MANY - kept} measured, {kept} from the cache, 0 refused\n"
    assert (result.exit_code, result.stderr) == (0, told)
    assert _audit("--peft-dir", many, "--no-cache", "--jobs", "1").stdout == result.stdout


def _settled(cache: Path) -> int:
    """How many audits are kept, as soon as processes that outlive their parent for a moment have come to rest."""
    count, deadline = -1, time.monotonic() + 30
    while time.monotonic() < deadline:
        before, count = count, len(list(cache.glob("*/*.audit")))
        if count == before:
            return count
        time.sleep(0.5)
    pytest.fail("processes of a killed batch go on working")
