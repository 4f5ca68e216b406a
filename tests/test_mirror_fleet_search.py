"""Which journals are meant by files and directories."""

from pathlib import Path

from gradience.mirror.fleet.search import Found, find
from gradience.testing import samples


def journal(path: Path) -> Path:
    """A journal of one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return samples.write(path, samples.steps("r", 1, 1))


def test_a_directory_means_every_journal_in_it_however_deep(tmp_path: Path) -> None:
    """Sorted, so that a repeated command goes through them alike."""
    deep, top = journal(tmp_path / "a" / "b" / "run.jsonl"), journal(tmp_path / "run.jsonl")
    assert find([tmp_path]) == Found((top, deep))


def test_state_folders_hold_no_journals(tmp_path: Path) -> None:
    """Dead letters are .jsonl files, too."""
    journal(tmp_path / "run.jsonl.gradience" / "mlflow-1.dead.jsonl")
    assert find([tmp_path]) == Found(())


def test_what_is_no_telemetry_in_a_directory_is_counted(tmp_path: Path) -> None:
    """A data set beside the runs stops nothing, and is not read to its end."""
    (tmp_path / "data.jsonl").write_bytes(b'{"text": "hello"}\n' * 100 + samples.steps("r", 1, 1)[0])
    (tmp_path / "empty.jsonl").touch()
    run = journal(tmp_path / "run.jsonl")
    assert find([tmp_path]) == Found((run,), skipped=2)


def test_a_torn_first_line_hides_no_journal(tmp_path: Path) -> None:
    """A recorder that was killed in its first write left one."""
    run = tmp_path / "run.jsonl"
    run.write_bytes(b'{"schema": "grad\n\n' + samples.steps("r", 1, 1)[0])
    assert find([tmp_path]).journals == (run,)


def test_a_named_file_is_taken_as_it_is(tmp_path: Path) -> None:
    """What is wrong with it is said when it is delivered."""
    (tmp_path / "data.jsonl").write_text("{}\n")
    missing = tmp_path / "missing.jsonl"
    assert find([tmp_path / "data.jsonl", missing]) == Found((tmp_path / "data.jsonl", missing))


def test_a_journal_under_two_names_is_delivered_once(tmp_path: Path) -> None:
    """Two deliveries of one file would only wait for each other."""
    run = journal(tmp_path / "a" / "run.jsonl")
    (tmp_path / "latest.jsonl").symlink_to(run)
    assert find([run, tmp_path, tmp_path / "a" / ".." / "a" / "run.jsonl"]) == Found((run,))
