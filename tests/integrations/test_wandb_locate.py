"""Which run offline is meant, and what becomes of its files; they are made by hand, so that no core is needed."""

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

pytest.importorskip("wandb")

from gradience_wandb import foreign, locate, recorded, transactions
from gradience_wandb.fragments import Fragments
from gradience_wandb.known import Expected
from gradience_wandb.place import OFFLINE, ONLINE, Place, Wish
from gradience_wandb.session import Session
from gradience_wandb.supplement import Supplement
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from gradience.errors import TargetGoneError
from gradience.mirror.sink import Batch, Position, Run

MakeBatch = Callable[..., Batch]
CORE: Any = SimpleNamespace(bounded=lambda *_: nullcontext())
AUDIT = {"event": "metrics", "step": 5, "kind": "lora_audit", "metrics": {"utilization_mean": 0.5, "modules": {}}}
ADVICE = {"event": "recommendation", "step": 5, "recommendations": [], "verdict": "review", "codes": []}
OURS = {"run_id": "r", "created_by": "gradience"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(mode=OFFLINE, server=None, directory=tmp_path / "wandb")


@pytest.fixture
def training(tmp_path: Path) -> Run:
    """A training of ours."""
    return Run(run_id="r", journal=str(tmp_path / "out" / "run.jsonl"), started=0.0)


@pytest.fixture
def audit(training: Run) -> Run:
    """The run of an audit, in the same folder."""
    return msgspec.structs.replace(training, meta={"created_by": "gradience audit"})


def _wrote(
    place: Place,
    run_id: str,
    *,
    when: str = "20260101_000000",
    config: Mapping[str, Any] | None = None,
    tags: tuple[str, ...] = ("mine",),
    lines: tuple[int, ...] = (),
    summary: Mapping[str, Any] | None = None,
    exit_code: int | None = None,
) -> Path:
    """The directory of one recording."""
    header, run, told, *rows = (Record() for _ in range(3 + len(lines)))
    header.header.version_info.producer = "0"
    run.run.run_id, run.run.entity, run.run.project, run.run.run_group = run_id, "me", "sft", "tries"
    run.run.tags[:] = tags
    run.run.notes = "by hand" if tags else ""
    for key, value in (config or {}).items():
        run.run.config.update.add(key=key, value_json=json.dumps(value))
    for row, line in zip(rows, lines, strict=True):
        row.history.step.num = line
    for key, value in (summary or {}).items():
        told.summary.update.add(key=key, value_json=json.dumps(value))
    records = [header, run, *rows, told]
    if exit_code is not None:
        end = Record()
        end.exit.exit_code = exit_code
        records.append(end)
    folder = place.directory / f"offline-run-{when}-{run_id}"
    folder.mkdir(parents=True)
    transactions.write(folder / f"run-{run_id}.wandb", [record.SerializeToString() for record in records])
    return folder


def _opened(place: Place, run: Run, named: str | None = None) -> locate.Opened:
    return locate.session(CORE, place, Wish(run=named), run, frozenset())


def test_a_run_of_somebody_elses_with_our_id_is_never_resumed(place: Place, training: Run) -> None:
    """Ours gets another id, and the same one again; theirs may be over or not."""
    _wrote(place, "r", exit_code=0)
    opened = _opened(place, training)
    assert isinstance(opened, Session)
    assert opened.tracked.id not in ("r", "")
    assert _opened(place, training).tracked.id == opened.tracked.id
    _wrote(place, "r2", config={"gradience": {"run_id": "r2", "created_by": "gradience"}}, exit_code=0)
    ours = _opened(place, msgspec.structs.replace(training, run_id="r2"))
    assert (type(ours), ours.tracked.id) == (Session, "r2")
    assert isinstance(
        _opened(place, training, named="r2"), Supplement
    )  # that of another journal's is no place for rows


@pytest.mark.parametrize("run_id", ["r", "u1"])
def test_a_run_that_was_named_and_goes_on_gets_one_beside_it(place: Place, audit: Run, run_id: str) -> None:
    """Also where ours would have its id; one that is over is added to."""
    _wrote(place, "u1")
    run = msgspec.structs.replace(audit, run_id=run_id)
    beside = _opened(place, run, named="u1")
    assert (type(beside), beside.tracked.id == "u1") == (Session, False)
    _wrote(place, "u1", when="20260102_000000", exit_code=0)
    over = _opened(place, run, named="u1")
    assert (type(over), over.tracked.id) == (Supplement, "u1")


def test_only_a_training_begins_the_run_that_was_named(place: Place, training: Run, audit: Run) -> None:
    """An audit belongs to one that is there: a slip of the pen makes no new one."""
    assert _opened(place, training, named="u1").tracked.id == "u1"
    with pytest.raises(TargetGoneError, match="There is no W&B run u1 at"):
        _opened(place, audit, named="u1")


def test_what_went_to_a_run_goes_on_there(place: Place, training: Run, audit: Run, tmp_path: Path) -> None:
    """To the one that an earlier delivery named; and an audit that has a run of its own is not adopted later."""
    _wrote(place, "named", config={"gradience": OURS})
    assert _opened(place, msgspec.structs.replace(training, tracked="named")).tracked.id == "named"
    _wrote(place, "u1", config={"output_dir": str(tmp_path / "out")}, exit_code=0)
    assert _opened(place, audit).tracked.id == "u1"
    assert _opened(place, training).tracked.id == "r"  # its directory may be that of yesterday's run
    assert _opened(place, msgspec.structs.replace(audit, tracked="r")).tracked.id == "r"


def test_a_run_that_was_uploaded_is_added_to_online_alone(place: Place) -> None:
    """What is written beside its files never gets there."""
    folder = _wrote(place, "u1", exit_code=0)
    assert foreign.named(CORE, place, "me/sft/u1").is_over
    (folder / "run-u1.wandb.synced").touch()
    with pytest.raises(TargetGoneError, match="W&B run u1 was uploaded from"):
        foreign.named(CORE, place, "u1")
    with pytest.raises(TargetGoneError, match="There is no W&B run u2 in"):
        foreign.named(CORE, place, "u2")


def test_the_files_of_a_run_add_up(place: Place) -> None:
    """Each begins anew: what it does not say again stays, and it goes on. A run with a longer id is another one."""
    _wrote(place, "r", config={"lr": 1}, lines=(1, 3), summary={"a": 1}, exit_code=1)
    _wrote(place, "r-2", lines=(9,), when="20260103_000000")
    memory = Fragments(CORE, place.directory, "sft", "me", "r")
    assert (known := memory.look()) is not None
    assert (known.line, known.state) == (3, "failed")
    _wrote(place, "r", when="20260102_000000", config={"seed": 2}, tags=(), lines=(2,), summary={"b": 1})
    assert (known := memory.look()) is not None
    assert (known.line, known.state, known.tags, known.notes) == (3, None, ("mine",), "by hand")
    assert known.config == {"lr": 1, "seed": 2}
    assert known.keys == frozenset(["a", "b"])


def test_what_was_delivered_is_looked_for_in_the_file_that_grows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each core begins a file of its own, also within one process."""
    monkeypatch.setattr("gradience_wandb.fragments.CONFIRM_S", 0.0)
    core: Any = SimpleNamespace(check=lambda: None)
    memory = Fragments(core, place.directory, "sft", "me", "r")
    place.directory.mkdir()
    for line in (1, 2):
        path, expected = place.directory / f"{line}.wandb", Expected(position=Position(line, "f"), row=line)
        live = SimpleNamespace(settings=SimpleNamespace(sync_file=str(path)))
        assert memory.confirm(expected, live) == f"{path} does not grow"
        transactions.write(path, [b"a row", str(expected.position).encode()])
        assert memory.confirm(expected, live) is None


def test_a_run_that_is_added_to_loses_nothing(place: Place, audit: Run, batch: MakeBatch) -> None:
    """`wandb sync` replaces the whole summary by what our directory says; their own is older, and stays as it is."""
    soon = time.strftime("%Y%m%d_%H%M%S", time.localtime(time.time() + 3))  # by a clock that is ahead
    theirs = _wrote(place, "u1", when=soon, config={"lr": 1}, summary={"loss": 0.1, "of": {"a": 1}}, exit_code=1)
    before = (theirs / "run-u1.wandb").read_bytes()
    for _ in range(2):
        opened = _opened(place, audit, named="u1")
        opened.deliver(batch(AUDIT, ADVICE, run_id="r"))
    assert opened.tracked.id == "u1"
    assert [path.name for path in theirs.iterdir()] == ["run-u1.wandb"]
    assert (theirs / "run-u1.wandb").read_bytes() == before
    first, second = recorded.folders(place.directory, "u1")
    assert first == theirs
    assert (found := recorded.whole([second])) is not None
    assert (found.summary["loss"], found.summary["of"], found.summary["gradience"]["verdict"]) == (
        0.1,
        {"a": 1},
        "review",
    )
    assert (found.config["lr"], list(found.run.tags), found.run.notes) == (1, ["mine", "gradience:review"], "by hand")
    assert (found.run.resume, found.exit.exit_code) == (True, 1)


def test_a_directory_that_was_uploaded_is_written_no_more(place: Place, audit: Run, batch: MakeBatch) -> None:
    """`wandb sync` would pass it by; what it said is said again."""
    _wrote(place, "u1", tags=(), exit_code=0)
    parts = recorded.folders(place.directory, "u1")
    Supplement(parts, audit, ()).deliver(batch(AUDIT, ADVICE, run_id="r"))
    (ours,) = recorded.folders(place.directory, "u1")[1:]
    (ours / "run-u1.wandb.synced").touch()
    Supplement([*parts, ours], audit, ()).deliver(batch(ADVICE, first=3, run_id="r"))
    *_, last = found = recorded.folders(place.directory, "u1")
    assert len(found) == 3
    assert (told := recorded.whole([last])) is not None
    assert told.run.notes.startswith("**Verdict: review**")


def test_an_id_is_one_that_wandb_takes_and_nobody_elses() -> None:
    """The run_id itself where W&B takes it; else a mark keeps those apart that would look alike."""
    fine = ["r", "a_b", "run-2026", "x" * 64]
    assert list(map(locate.derived, fine)) == fine
    made = [locate.derived(odd) for odd in ("a b", "a/b", "a:b", "\xe4", "\udcff", "x" * 65, "x" * 66)]
    assert [one for one in made if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", one)] == []
    assert len({*fine, *made}) == len(fine) + len(made)


@pytest.mark.parametrize(
    ("named", "path"),
    [(None, "me/uncategorized/r"), ("u", "me/uncategorized/u"), ("p/u", "me/p/u"), ("team/p/u", "team/p/u")],
)
def test_a_path_is_taken_by_its_word(training: Run, named: str | None, path: str) -> None:
    """What it leaves open is W&B's own; one that earlier deliveries went to, and that is gone, is not begun anew."""

    def missing(path: str) -> None:
        raise ValueError(f"Could not find run {path}")

    api = SimpleNamespace(_runs={}, run=missing)
    core: Any = SimpleNamespace(
        bounded=lambda *_: nullcontext(), api=lambda: api, page="https://w", default_entity=lambda: "me"
    )
    place = Place(mode=ONLINE, server=None, directory=Path())
    assert locate.session(core, place, Wish(run=named), training, frozenset()).tracked.id == path
    with pytest.raises(TargetGoneError, match=f"W&B run {path}, which earlier deliveries went to, is not there"):
        locate.session(core, place, Wish(run=named), msgspec.structs.replace(training, tracked=path), frozenset())
