from pathlib import Path
from typing import Any

import pytest

from gradience.cli import keep
from gradience.cli.journals import Journal
from gradience.cli.keep import Keeping
from gradience.references import Fetched
from gradience.vnext.telemetry import TelemetryWriter

NOTHING: dict[str, Any] = dict.fromkeys(Keeping.__struct_fields__)


def _keeping(**given: Any) -> Keeping:
    return Keeping(**{**NOTHING, "log_to": (), "deadline": 1.0, "strict": False, **given})


def _place(folder: Path) -> Fetched:
    folder.mkdir(exist_ok=True)
    return Fetched(folder=folder, shown=str(folder), is_local=True)


def _journal(path: Path) -> Path:
    with TelemetryWriter(path, "r") as writer:
        writer.run_start({})
    return path


def test_without_options_the_run_that_is_found_is_taken(tmp_path: Path) -> None:
    """Where a command keeps what it found by itself; `journal` alone keeps nothing unasked."""
    path = _journal(tmp_path / "run.jsonl")
    place = _place(tmp_path / "adapter")
    assert keep.recorded(place, _keeping()) == Journal(path=path.resolve(), run_id="r")
    assert keep.journal(place, _keeping()) is None


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ((), "Not recorded: no recorded run in or above the adapter's directory"),
        (("a", "b"), "Not recorded: cannot choose"),
    ],
)
def test_without_options_nothing_is_made_or_guessed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, ...], says: str
) -> None:
    """That nothing is recorded is said, and the work goes on."""
    for name in names:
        _journal(tmp_path / f"{name}.jsonl")
    assert keep.recorded(_place(tmp_path / "adapter"), _keeping()) is None
    assert says in capsys.readouterr().err


def test_what_is_asked_for_is_taken(tmp_path: Path) -> None:
    """A journal by name, or one to be made for the trackers."""
    place, new = _place(tmp_path / "adapter"), tmp_path / "new.jsonl"
    other = _journal(tmp_path / "other.jsonl")
    assert keep.recorded(place, _keeping(append=other)) == Journal(path=other, run_id="r")
    assert keep.recorded(place, _keeping(telemetry=new)) == Journal(path=new)
