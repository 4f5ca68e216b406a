import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gradience.audit.record import AuditRecord
from gradience.cli import audit_note, journals, landing
from gradience.cli.landing import Entry, Note
from gradience.errors import TelemetryError
from gradience.mirror import origin
from gradience.policy.advice import advise
from gradience.vnext.telemetry import TelemetryWriter
from gradience.vnext.telemetry_reader import TelemetryReader

MakeRecord = Callable[..., AuditRecord]
AMPLE = [8.0, 6.0, 4.0, 2.0, *[0.1] * 28]


def _journal(path: Path, *, steps: int = 3, run_id: str = "run-1") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with TelemetryWriter(path, run_id) as writer:
        writer.run_start({})
        for step in range(1, steps + 1):
            writer.train_step(step, loss=1.0)
    return path


def _events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def record(make_record: MakeRecord) -> AuditRecord:
    """An audit that has something to say."""
    return make_record({"0.q_proj": AMPLE})


def test_the_audit_lands_in_the_run_as_two_events(tmp_path: Path, record: AuditRecord) -> None:
    """Under the run's own id, at its last step, after everything that was there."""
    path = _journal(tmp_path / "run.jsonl", steps=7)
    before = path.read_bytes()
    landed = audit_note.land(journals.named(path), record, advise(record))
    assert landed == landing.Landed(path=path, run_id="run-1", added=True)
    assert path.read_bytes().startswith(before)
    audit, advice = _events(path)[-2:]
    assert [audit["event"], audit["kind"], audit["run_id"], audit["step"]] == ["metrics", "lora_audit", "run-1", 7]
    assert [advice["event"], advice["verdict"], advice["step"]] == ["recommendation", "review", 7]


def test_the_adapters_own_step_is_used(tmp_path: Path, record: AuditRecord) -> None:
    """A checkpoint's audit stands at the checkpoint's step."""
    path = _journal(tmp_path / "run.jsonl", steps=7)
    earlier = msgspec.structs.replace(record, adapter=msgspec.structs.replace(record.adapter, step=5))
    audit_note.land(journals.named(path), earlier, advise(earlier))
    assert _events(path)[-1]["step"] == 5


def test_the_same_audit_lands_once(tmp_path: Path, record: AuditRecord) -> None:
    """The same adapter, audit version and energy level: the file stays as it is."""
    path = _journal(tmp_path / "run.jsonl")
    audit_note.land(journals.named(path), record, advise(record))
    before = path.read_bytes()
    assert audit_note.land(journals.named(path), record, advise(record)).added is False
    assert path.read_bytes() == before


def test_another_level_or_adapter_lands_as_well(tmp_path: Path, make_record: MakeRecord, record: AuditRecord) -> None:
    """Each is an audit of its own."""
    path = _journal(tmp_path / "run.jsonl")
    others = [make_record({"0.q_proj": AMPLE}, 0.9), make_record({"0.q_proj": AMPLE}, fingerprint="sha256:1")]
    assert [audit_note.land(journals.named(path), one, advise(one)).added for one in [record, *others]] == [True] * 3


def test_an_audit_that_was_torn_off_lands_again(tmp_path: Path, record: AuditRecord) -> None:
    """A crash between the two events leaves no audit without its advice."""
    path = _journal(tmp_path / "run.jsonl")
    audit_note.land(journals.named(path), record, advise(record))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert audit_note.land(journals.named(path), record, advise(record)).added is True


def test_a_new_journal_is_a_run_that_ended_well(tmp_path: Path, record: AuditRecord) -> None:
    """It says where it comes from, and reads without an issue; the same audit again adds nothing."""
    adapter = tmp_path / "out" / "checkpoint-5"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text('{"r": 32, "base_model_name_or_path": "org/base"}')
    info = msgspec.structs.replace(
        record.adapter, peft_dir=str(adapter), adapter_config_path=str(adapter / "adapter_config.json")
    )
    found = msgspec.structs.replace(record, adapter=info)
    landed = audit_note.land(journals.beside(adapter), found, advise(found))
    assert [event["event"] for event in _events(landed.path)] == ["run_start", "metrics", "recommendation", "run_end"]
    start = _events(landed.path)[0]
    assert start["meta"] == {"output_dir": str(tmp_path / "out"), "created_by": "gradience audit"}
    assert (start["config"]["model_name"], start["config"]["lora"]["r"]) == ("org/base", 32)
    reader = TelemetryReader(landed.path, strict=True)
    assert reader.validate() == []
    assert reader.summarize().status == "ok"
    assert audit_note.land(journals.beside(adapter), found, advise(found)).added is False


def test_the_journal_of_a_fetched_adapter_is_made_here(
    tmp_path: Path, record: AuditRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a name of the reference's own, and found again; its run says where the adapter is from."""
    monkeypatch.chdir(tmp_path)
    place = "hf://org/name@v1/checkpoint-5"
    fetched = msgspec.structs.replace(record, adapter=msgspec.structs.replace(record.adapter, peft_dir=place))
    landed = audit_note.land(journals.apart(place), fetched, advise(fetched))
    assert landed.path.parent == Path()
    assert landed.path.name.startswith("audit-org-name-v1-checkpoint-5-")
    assert _events(landed.path)[0]["meta"] == {"adapter": place, "created_by": "gradience audit"}
    assert audit_note.land(journals.apart(place), fetched, advise(fetched)).added is False
    assert journals.apart("hf://org/name@v2/checkpoint-5").path != landed.path


def _note(record: AuditRecord, rank: int = 8, identity: tuple[str, ...] = ("kind", "metrics.source.rank")) -> Note:
    payload = {"kind": "compression", "metrics": {"source": {"rank": rank}, "params": 10}}
    entry = Entry(event="metrics", payload=payload, identity=identity)
    return Note(adapter=record.adapter, maker=origin.COMPRESS, entries=(entry,))


def test_any_event_lands_once_by_what_makes_it_the_same(tmp_path: Path, record: AuditRecord) -> None:
    """Another value in one of these places makes it another event; an event without any is always new."""
    path = _journal(tmp_path / "run.jsonl", steps=7)
    notes = [_note(record), _note(record), _note(record, rank=4), _note(record, identity=()), _note(record)]
    assert [landing.land(journals.named(path), one).added for one in notes] == [True, False, True, True, False]
    assert [event["step"] for event in _events(path)[-3:]] == [7, 7, 7]


def test_a_journal_says_which_command_made_it(tmp_path: Path, record: AuditRecord) -> None:
    """So that nobody takes its run for a training."""
    landed = landing.land(journals.at(tmp_path / "new.jsonl"), _note(record))
    assert _events(landed.path)[0]["meta"]["created_by"] == "gradience compress"


def test_a_journal_that_cannot_be_written_is_said(tmp_path: Path, record: AuditRecord) -> None:
    """And nothing of the note is there."""
    path = tmp_path / "run.jsonl"
    path.mkdir()
    with pytest.raises(TelemetryError):
        landing.land(journals.Journal(path=path), _note(record))
