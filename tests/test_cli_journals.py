from pathlib import Path

import pytest

from gradience.cli import journals
from gradience.errors import InputError, TelemetryError
from gradience.vnext.telemetry import TelemetryWriter


def _journal(path: Path, *, steps: int = 3, run_id: str = "run-1", planned: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with TelemetryWriter(path, run_id) as writer:
        writer.run_start({"training": {"max_steps": planned}})
        for step in range(1, steps + 1):
            writer.train_step(step, loss=1.0)
    return path


@pytest.mark.parametrize("below", ["", "checkpoint-5", "run-1/checkpoint-5"])
def test_the_journal_is_found_up_to_two_folders_above(tmp_path: Path, below: str) -> None:
    """In the adapter's directory, its parent and its grandparent."""
    path = _journal(tmp_path / "run.jsonl")
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    assert journals.beside(tmp_path / below) == journals.Journal(path=path.resolve(), run_id="run-1")


def test_the_journal_of_an_adapter_file_is_beside_it(tmp_path: Path) -> None:
    """Other tools write single files; without a journal a new one is made in the same directory."""
    file = tmp_path / "out" / "style.safetensors"
    file.parent.mkdir()
    file.touch()
    assert journals.beside(file) == journals.Journal(path=file.parent / "run.jsonl")
    path = _journal(tmp_path / "run.jsonl")
    assert journals.beside(file) == journals.Journal(path=path.resolve(), run_id="run-1")


def test_a_journal_three_folders_above_is_not_ours(tmp_path: Path) -> None:
    """It may be anybody's: a new one is made beside the adapter."""
    _journal(tmp_path / "run.jsonl")
    adapter = tmp_path / "a" / "b" / "c"
    adapter.mkdir(parents=True)
    assert journals.beside(adapter) == journals.Journal(path=adapter / "run.jsonl")


def test_the_nearest_journal_wins(tmp_path: Path) -> None:
    """A checkpoint's own before that of the run."""
    _journal(tmp_path / "run.jsonl", run_id="far")
    _journal(tmp_path / "checkpoint-5" / "own.jsonl", run_id="near")
    assert journals.beside(tmp_path / "checkpoint-5").run_id == "near"


def test_run_jsonl_wins_over_other_names(tmp_path: Path) -> None:
    """It is the recorder's own default."""
    _journal(tmp_path / "a.jsonl", run_id="a")
    _journal(tmp_path / "run.jsonl", run_id="run")
    assert journals.beside(tmp_path).run_id == "run"


def test_several_journals_are_listed(tmp_path: Path) -> None:
    """Nothing is guessed."""
    for name in ("a", "b"):
        _journal(tmp_path / f"{name}.jsonl", run_id=name)
    with pytest.raises(InputError, match=r"a\.jsonl, .*b\.jsonl; name one with --append"):
        journals.beside(tmp_path)


def test_other_peoples_jsonl_is_no_candidate(tmp_path: Path) -> None:
    """Training data beside the adapter is left alone."""
    (tmp_path / "train.jsonl").write_text('{"prompt": "x"}\n')
    assert journals.beside(tmp_path) == journals.Journal(path=tmp_path / "run.jsonl")


def test_a_file_in_the_way_of_a_new_journal_is_refused(tmp_path: Path) -> None:
    """Nothing is ever appended to somebody's data."""
    (tmp_path / "run.jsonl").write_text('{"prompt": "x"}\n')
    with pytest.raises(TelemetryError, match="not a telemetry file"):
        journals.beside(tmp_path)


@pytest.mark.parametrize("content", [None, "print('hello')\n", ""])
def test_only_a_recorded_run_can_be_appended_to(tmp_path: Path, content: str | None) -> None:
    """Missing, something else, or without any run."""
    path = tmp_path / "victim.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TelemetryError):
        journals.named(path)
    assert path.exists() is (content is not None)
    assert content is None or path.read_text() == content


def test_what_the_run_knows(tmp_path: Path) -> None:
    """The planned steps let an early checkpoint be recognised; nothing where nothing is said, or no run is there."""
    planned = journals.named(_journal(tmp_path / "a.jsonl", planned=1000))
    unplanned = journals.named(_journal(tmp_path / "b.jsonl"))
    assert journals.known(planned).run.config.training.max_steps == 1000
    assert [journals.known(one) for one in (unplanned, journals.at(tmp_path / "c.jsonl"), None)] == [
        journals.Known()
    ] * 3


def test_a_run_that_never_improved_is_known_for_it(tmp_path: Path) -> None:
    """Whether or not it was watched while it was recorded."""
    for name, losses in (("a.jsonl", (1.0, 1.1, 1.2)), ("b.jsonl", (1.0, 0.9, 0.8))):
        with TelemetryWriter(tmp_path / name) as writer:
            writer.run_start({})
            for step, loss in enumerate(losses):
                writer.eval(10 * step, split="test", metrics={"loss": loss})
    known = [journals.known(journals.named(tmp_path / name)) for name in ("a.jsonl", "b.jsonl")]
    assert [one.run.never_improved for one in known] == [True, False]
