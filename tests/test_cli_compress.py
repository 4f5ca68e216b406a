"""`gradience compress`: which rank it takes, what it says, and where its event lands."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradience.audit import audit, fingerprint
from gradience.cli.main import group
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader
from gradience.vnext.types import Metrics

SaveAdapter = Callable[..., Path]


@pytest.fixture
def adapter(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """An adapter of rank 16 whose update is of rank 4."""
    return save_adapter(tmp_path / "adapter")


def compress(adapter: Path, *arguments: str | Path) -> Result:
    """The command, with the new adapter beside the old one."""
    out = adapter.parent / "small"
    return CliRunner().invoke(group, ["compress", "--peft-dir", str(adapter), "--out", str(out), *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "rank"),
    [
        ((), 4),
        (("--rank", "7"), 7),
        (("--rank", "16"), 16),
        (("--energy", "0.95"), 4),
        (("--energy", "0.45"), 2),
        (("--energy", "1"), 16),
        (("--per-layer",), 4),
        (("--per-layer", "--energy", "1"), 16),
    ],
)
def test_the_rank_is_the_audits_or_the_one_that_was_asked_for(
    adapter: Path, arguments: tuple[str, ...], rank: int
) -> None:
    """Four directions carry all but a millionth of the energy, evenly."""
    assert compress(adapter, *arguments).exit_code == 0
    record = audit(adapter.parent / "small")
    assert {module.r for module in record.modules} == {rank}
    assert record.summary.energy_rank_95_p50 == min(rank, 4)


@pytest.mark.parametrize(
    ("config", "arguments", "code", "says"),
    [
        ({}, ("--rank", "17"), 1, "it cannot get rank 17; give a --rank from 1 to 16"),
        ({}, ("--rank", "0"), 1, "it cannot get rank 0"),
        ({}, ("--rank", "4", "--per-layer"), 2, "--rank says it all"),
        ({"needed": 0}, ("--rank", "4"), 1, "its update is zero in all modules"),
        ({"needed": 16}, (), 1, "the audit suggests no rank below 16; say what to try: --rank N"),
        ({"init_lora_weights": False}, (), 1, "init_lora_weights=false"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, save_adapter: SaveAdapter, config: dict[str, int], arguments: tuple[str, ...], code: int, says: str
) -> None:
    """What, where, what to do; and nothing is left behind."""
    result = compress(save_adapter(tmp_path / "adapter", **config), *arguments)
    assert result.exit_code == code
    assert says in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_the_report_says_what_became_of_it_and_how_to_test_it(adapter: Path) -> None:
    """Sizes, energy, error by type, where it can be served, and the next command."""
    result = compress(adapter, "--rank", "8")
    assert "r=8 alpha=8" in result.stdout
    assert "max_lora_rank 16 -> 8 in vLLM; one rank and alpha = r" in result.stdout
    assert f"gradience verify --original {adapter} --compressed {adapter.parent / 'small'}" in result.stdout
    assert "Not recorded" in result.stderr


def test_the_document_has_every_module(adapter: Path) -> None:
    """And both fingerprints, by which the adapters are known anywhere."""
    document = json.loads(compress(adapter, "--rank", "2", "--json").stdout)
    assert document["schema"] == "gradience.compression/v1"
    assert document["adapter"]["fingerprint"] == fingerprint(adapter)
    assert document["compressed_adapter"]["fingerprint"] == fingerprint(adapter.parent / "small")
    assert [one["rank"] for one in document["modules"]] == [2] * 4
    assert document["energy_kept"] == pytest.approx(0.5, rel=1e-3)
    assert document["relative_error"] == pytest.approx(0.5**0.5, rel=1e-3)


def test_it_joins_the_run_that_trained_the_adapter(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """At the checkpoint's step; the same compression again is the same event."""
    adapter = save_adapter(tmp_path / "out" / "checkpoint-30")
    journal = tmp_path / "out" / "run.jsonl"
    with TelemetryWriter(journal, "run-1") as writer:
        writer.train_step(30, loss=1.0)
    for out in ("one", "two"):
        arguments = ["compress", "--peft-dir", str(adapter), "--out", str(tmp_path / out), "--rank", "4"]
        assert CliRunner().invoke(group, arguments).exit_code == 0
    events = [record.event for record in TelemetryReader(journal) if isinstance(record.event, Metrics)]
    assert [(event.kind, event.step) for event in events] == [("compression", 30)]
    assert events[0].metrics["compressed_adapter"]["fingerprint"] == fingerprint(tmp_path / "two")


def test_a_name_that_is_taken_is_known_before_anything_is_read(tmp_path: Path) -> None:
    """The adapter may be of gigabytes, or a tracker's: here there is none at all."""
    (tmp_path / "small").mkdir()
    result = compress(tmp_path / "missing")
    assert result.exit_code == 1
    assert "it is there already" in result.stderr
