import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gradience.cli.main import group
from gradience.errors import InputError
from gradience.history import trainer_state

LOG = [
    {"epoch": 0.5, "grad_norm": 1.5, "learning_rate": 1e-4, "loss": 2.0, "step": 5},
    {"epoch": 0.5, "grad_norm": math.nan, "learning_rate": 9e-5, "loss": 0.0, "step": 10},
    {"epoch": 1.0, "eval_loss": 1.9, "eval_runtime": 2.0, "eval_samples_per_second": 9.0, "step": 10},
]
END = {"epoch": 1.0, "step": 10, "total_flos": 1e12, "train_loss": 1.0, "train_runtime": 60.0}


def _state(*log: dict[str, Any]) -> dict[str, Any]:
    return {"log_history": list(log), "max_steps": 10, "num_train_epochs": 1, "train_batch_size": 4, "global_step": 10}


def _events(*log: dict[str, Any]) -> list[dict[str, Any]]:
    return list(trainer_state.events(_state(*log), run_id="a", ts=100.0))


def test_a_log_becomes_events() -> None:
    """Steps and evaluations as a recorder would have written them; an end only where the Trainer told of one."""
    events = _events(*LOG)
    assert [(one["event"], one["step"]) for one in events] == [
        ("run_start", None),
        ("train_step", 5),
        ("train_step", 10),
        ("eval", 10),
    ]
    assert events[0]["config"] == {"training": {"max_steps": 10, "epochs": 1, "batch_size": 4}}
    assert {key: events[1][key] for key in ("loss", "lr", "grad_norm")} == {"loss": 2.0, "lr": 1e-4, "grad_norm": 1.5}
    assert (events[3]["split"], events[3]["metrics"]) == ("eval", {"loss": 1.9})


def test_the_end_tells_how_long_it_took() -> None:
    """All that a state says of time."""
    events = _events(*LOG, END)
    assert (events[0]["ts"], events[-1]["ts"], events[-1]["status"]) == (40.0, 100.0, "ok")


def test_several_evaluation_sets_have_their_names() -> None:
    """However these are spelt; a set is known by the time that its evaluation took."""
    entry = {"step": 3, "eval_math_hard_loss": 1.0, "eval_math_hard_runtime": 1.0, "eval_math_loss": 2.0}
    entry |= {"eval_math_runtime": 1.0, "eval_math_steps_per_second": 3.0}
    assert [(one["split"], one["metrics"]) for one in _events(entry)[1:]] == [
        ("math_hard", {"loss": 1.0}),
        ("math", {"loss": 2.0}),
    ]


@pytest.mark.parametrize("content", ["{", "[]", '{"log_history": 3}', "[" * 100_000, None])
def test_what_is_no_state_is_refused(tmp_path: Path, content: str | None) -> None:
    """In one line."""
    path = tmp_path / "trainer_state.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="cannot read"):
        trainer_state.read(path)


def test_monitor_takes_a_state_for_a_journal(tmp_path: Path) -> None:
    """A file, an output directory with checkpoints, or several; NaN stands bare in it, as Trainers write it."""
    for name, log in {"one": LOG, "two": [*LOG[:1], END]}.items():
        checkpoint = tmp_path / name / "checkpoint-10"
        checkpoint.mkdir(parents=True)
        (tmp_path / name / "checkpoint-9").mkdir()
        (checkpoint / "trainer_state.json").write_text(json.dumps(_state(*log)))

    def monitor(*arguments: str) -> str:
        result = CliRunner().invoke(group, ["monitor", *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    text = monitor(str(tmp_path / "one"))
    assert "NaN" in (tmp_path / "one" / "checkpoint-10" / "trainer_state.json").read_text()
    assert "train_step/grad_norm is NaN at step 10" in text
    assert text == monitor(str(tmp_path / "one" / "checkpoint-10" / "trainer_state.json"))
    document = json.loads(monitor(str(tmp_path / "one"), "--json"), parse_constant=pytest.fail)
    assert document["series"]["eval/eval/loss"]["last"] == [1.9]
    assert monitor(str(tmp_path)).splitlines()[0] == "2 runs"
    assert CliRunner().invoke(group, ["compare", str(tmp_path / "one"), str(tmp_path / "two")]).exit_code == 0
    follow = ["monitor", "--follow", str(tmp_path / "one" / "checkpoint-10" / "trainer_state.json")]
    assert CliRunner().invoke(group, follow).exit_code == 2
