import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gradience.audit.record import AuditRecord
from gradience.cli import landing
from gradience.errors import InputError, TelemetryError
from gradience.policy.advice import advise
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader

MakeRecord = Callable[..., AuditRecord]
AMPLE = [8.0, 6.0, 4.0, 2.0, *[0.1] * 28]


def _journal(path: Path, *, steps: int = 3, run_id: str = "run-1", planned: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with TelemetryWriter(path, run_id) as writer:
        writer.run_start({"training": {"max_steps": planned}})
        for step in range(1, steps + 1):
            writer.train_step(step, loss=1.0)
    return path


def _events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def record(make_record: MakeRecord) -> AuditRecord:
    """An audit that has something to say."""
    return make_record({"0.q_proj": AMPLE})


@pytest.mark.parametrize("below", ["", "checkpoint-5", "run-1/checkpoint-5"])
def test_the_journal_is_found_up_to_two_folders_above(tmp_path: Path, below: str) -> None:
    """In the adapter's directory, its parent and its grandparent."""
    path = _journal(tmp_path / "run.jsonl")
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    assert landing.beside(tmp_path / below) == landing.Journal(path=path.resolve(), run_id="run-1")


def test_the_journal_of_an_adapter_file_is_beside_it(tmp_path: Path) -> None:
    """Other tools write single files; without a journal a new one is made in the same directory."""
    file = tmp_path / "out" / "style.safetensors"
    file.parent.mkdir()
    file.touch()
    assert landing.beside(file) == landing.Journal(path=file.parent / "run.jsonl")
    path = _journal(tmp_path / "run.jsonl")
    assert landing.beside(file) == landing.Journal(path=path.resolve(), run_id="run-1")


def test_a_journal_three_folders_above_is_not_ours(tmp_path: Path) -> None:
    """It may be anybody's: a new one is made beside the adapter."""
    _journal(tmp_path / "run.jsonl")
    adapter = tmp_path / "a" / "b" / "c"
    adapter.mkdir(parents=True)
    assert landing.beside(adapter) == landing.Journal(path=adapter / "run.jsonl")


def test_the_nearest_journal_wins(tmp_path: Path) -> None:
    """A checkpoint's own before that of the run."""
    _journal(tmp_path / "run.jsonl", run_id="far")
    _journal(tmp_path / "checkpoint-5" / "own.jsonl", run_id="near")
    assert landing.beside(tmp_path / "checkpoint-5").run_id == "near"


def test_run_jsonl_wins_over_other_names(tmp_path: Path) -> None:
    """It is the recorder's own default."""
    _journal(tmp_path / "a.jsonl", run_id="a")
    _journal(tmp_path / "run.jsonl", run_id="run")
    assert landing.beside(tmp_path).run_id == "run"


def test_several_journals_are_listed(tmp_path: Path) -> None:
    """Nothing is guessed."""
    for name in ("a", "b"):
        _journal(tmp_path / f"{name}.jsonl", run_id=name)
    with pytest.raises(InputError, match=r"a\.jsonl, .*b\.jsonl; name one with --append"):
        landing.beside(tmp_path)


def test_other_peoples_jsonl_is_no_candidate(tmp_path: Path) -> None:
    """Training data beside the adapter is left alone."""
    (tmp_path / "train.jsonl").write_text('{"prompt": "x"}\n')
    assert landing.beside(tmp_path) == landing.Journal(path=tmp_path / "run.jsonl")


def test_a_file_in_the_way_of_a_new_journal_is_refused(tmp_path: Path) -> None:
    """Nothing is ever appended to somebody's data."""
    (tmp_path / "run.jsonl").write_text('{"prompt": "x"}\n')
    with pytest.raises(TelemetryError, match="not a telemetry file"):
        landing.beside(tmp_path)


@pytest.mark.parametrize("content", [None, "print('hello')\n", ""])
def test_only_a_recorded_run_can_be_appended_to(tmp_path: Path, content: str | None) -> None:
    """Missing, something else, or without any run."""
    path = tmp_path / "victim.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TelemetryError):
        landing.named(path)
    assert path.exists() is (content is not None)
    assert content is None or path.read_text() == content


def test_the_audit_lands_in_the_run_as_two_events(tmp_path: Path, record: AuditRecord) -> None:
    """Under the run's own id, at its last step, after everything that was there."""
    path = _journal(tmp_path / "run.jsonl", steps=7)
    before = path.read_bytes()
    landed = landing.land(landing.named(path), record, advise(record))
    assert landed == landing.Landed(path=path, run_id="run-1", added=True)
    assert path.read_bytes().startswith(before)
    audit, advice = _events(path)[-2:]
    assert [audit["event"], audit["kind"], audit["run_id"], audit["step"]] == ["metrics", "lora_audit", "run-1", 7]
    assert [advice["event"], advice["verdict"], advice["step"]] == ["recommendation", "review", 7]


def test_the_adapters_own_step_is_used(tmp_path: Path, record: AuditRecord) -> None:
    """A checkpoint's audit stands at the checkpoint's step."""
    path = _journal(tmp_path / "run.jsonl", steps=7)
    earlier = msgspec.structs.replace(record, adapter=msgspec.structs.replace(record.adapter, step=5))
    landing.land(landing.named(path), earlier, advise(earlier))
    assert _events(path)[-1]["step"] == 5


def test_the_same_audit_lands_once(tmp_path: Path, record: AuditRecord) -> None:
    """The same adapter, audit version and energy level: the file stays as it is."""
    path = _journal(tmp_path / "run.jsonl")
    landing.land(landing.named(path), record, advise(record))
    before = path.read_bytes()
    assert landing.land(landing.named(path), record, advise(record)).added is False
    assert path.read_bytes() == before


def test_another_level_or_adapter_lands_as_well(tmp_path: Path, make_record: MakeRecord, record: AuditRecord) -> None:
    """Each is an audit of its own."""
    path = _journal(tmp_path / "run.jsonl")
    others = [make_record({"0.q_proj": AMPLE}, 0.9), make_record({"0.q_proj": AMPLE}, fingerprint="sha256:1")]
    assert [landing.land(landing.named(path), one, advise(one)).added for one in [record, *others]] == [True] * 3


def test_an_audit_that_was_torn_off_lands_again(tmp_path: Path, record: AuditRecord) -> None:
    """A crash between the two events leaves no audit without its advice."""
    path = _journal(tmp_path / "run.jsonl")
    landing.land(landing.named(path), record, advise(record))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert landing.land(landing.named(path), record, advise(record)).added is True


def test_a_new_journal_is_a_run_that_ended_well(tmp_path: Path, record: AuditRecord) -> None:
    """It says where it comes from, and reads without an issue; the same audit again adds nothing."""
    adapter = tmp_path / "out" / "checkpoint-5"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text('{"r": 32, "base_model_name_or_path": "org/base"}')
    info = msgspec.structs.replace(
        record.adapter, peft_dir=str(adapter), adapter_config_path=str(adapter / "adapter_config.json")
    )
    found = msgspec.structs.replace(record, adapter=info)
    landed = landing.land(landing.beside(adapter), found, advise(found))
    assert [event["event"] for event in _events(landed.path)] == ["run_start", "metrics", "recommendation", "run_end"]
    start = _events(landed.path)[0]
    assert start["meta"] == {"output_dir": str(tmp_path / "out"), "created_by": "gradience audit"}
    assert (start["config"]["model_name"], start["config"]["lora"]["r"]) == ("org/base", 32)
    reader = TelemetryReader(landed.path, strict=True)
    assert reader.validate() == []
    assert reader.summarize().status == "ok"
    assert landing.land(landing.beside(adapter), found, advise(found)).added is False


def test_the_journal_of_a_fetched_adapter_is_made_here(
    tmp_path: Path, record: AuditRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a name of the reference's own, and found again; its run says where the adapter is from."""
    monkeypatch.chdir(tmp_path)
    place = "hf://org/name@v1/checkpoint-5"
    fetched = msgspec.structs.replace(record, adapter=msgspec.structs.replace(record.adapter, peft_dir=place))
    landed = landing.land(landing.apart(place), fetched, advise(fetched))
    assert landed.path.parent == Path()
    assert landed.path.name.startswith("audit-org-name-v1-checkpoint-5-")
    assert _events(landed.path)[0]["meta"] == {"adapter": place, "created_by": "gradience audit"}
    assert landing.land(landing.apart(place), fetched, advise(fetched)).added is False
    assert landing.apart("hf://org/name@v2/checkpoint-5").path != landed.path


def test_the_planned_steps_are_those_of_the_run(tmp_path: Path) -> None:
    """What lets an early checkpoint be recognised; None where nothing is planned, or no run is there."""
    planned = landing.named(_journal(tmp_path / "a.jsonl", planned=1000))
    unplanned = landing.named(_journal(tmp_path / "b.jsonl"))
    assert landing.planned_steps(planned) == 1000
    assert landing.planned_steps(unplanned) is None
    assert landing.planned_steps(landing.at(tmp_path / "c.jsonl")) is None
