import click
import msgspec

from gradience.curves.course import Course
from gradience.report import monitor_text
from gradience.vnext.signals import AlertSeen, Issue, SignalSnapshot
from gradience.vnext.types import SCHEMA, ConfigSnapshot, Eval, EvalMetrics, LoRAConfigSnapshot, Severity, TrainStep

ISSUES = tuple(Issue(line, "is not JSON") for line in range(1, 8))
BARE = SignalSnapshot(run_id="run-1", counts={"train_step": 3})


def _text(seen: SignalSnapshot, *, verbose: bool = False) -> str:
    return click.unstyle(monitor_text.render("run.jsonl", seen, [], verbose=verbose))


def test_what_is_not_there_is_left_out() -> None:
    """A file with three training steps gives three lines, not a form full of dashes."""
    assert _text(BARE).splitlines() == [
        "Run run-1  run.jsonl",
        "",
        "  status      no run_end",
        "  events      3 train_step",
    ]


def test_a_rank_stands_without_an_alpha() -> None:
    """A configuration that names only the one shows no dash for the other."""
    seen = msgspec.structs.replace(BARE, config=ConfigSnapshot(lora=LoRAConfigSnapshot(r=8)))
    assert "  model       r=8\n" in _text(seen)


def test_a_time_that_is_no_time_is_left_out() -> None:
    """Foreign clocks do not break the report."""
    assert "status      no run_end\n" in _text(msgspec.structs.replace(BARE, first_ts=1e300, last_ts=1e301))


def test_the_first_issues_are_shown_and_the_rest_counted() -> None:
    """Three, or more with verbose."""
    seen = msgspec.structs.replace(BARE, issues=ISSUES, issue_count=40)
    assert "line 3: is not JSON\n  and 37 more (--verbose shows more)" in _text(seen)
    assert "line 7: is not JSON\n  and 33 more" in _text(seen, verbose=True)


def test_other_metrics_of_an_evaluation_are_shown_up_to_a_few() -> None:
    """A harness may log dozens."""
    extras = {f"m{i}": float(i) for i in range(6)} | {"text": "x"}
    seen = msgspec.structs.replace(BARE, evals={"test": EvalMetrics(loss=1.0, extras=extras)})
    assert "m0 0, m1 1, m2 2, m3 3, ..." in _text(seen)


def test_text_from_the_file_cannot_steer_the_terminal() -> None:
    """Splits, codes and messages included."""
    bad = "\x1b[2J"
    alert = AlertSeen(severity=Severity.INFO, code=bad, message=bad)
    seen = msgspec.structs.replace(BARE, run_id=bad, alerts=(alert,), evals={bad: EvalMetrics()}, counts={bad: 1})
    seen = msgspec.structs.replace(seen, recommendation={"verdict": bad}, issues=(Issue(1, bad),), issue_count=1)
    assert "\x1b" not in _text(seen)


def test_the_course_of_each_number_is_a_line() -> None:
    """The curve, where it ends, and its best: the lowest loss, the highest of what has no direction."""
    course = Course()
    steps = [
        TrainStep(schema=SCHEMA, ts=1.0, run_id="a", step=k, loss=[3.0, 1.0, 2.0][k], lr=0.1 * k) for k in range(3)
    ]
    evals = [Eval(schema=SCHEMA, ts=1.0, run_id="a", step=k, split="test", metrics={"loss": 2.0 - k}) for k in range(2)]
    course.take([*steps, *evals])
    lines = click.unstyle(monitor_text.render("x", SignalSnapshot(), [], course.curves())).splitlines()
    shown = [line.split() for line in lines[lines.index("Course") + 1 :]]
    assert shown == [
        ["loss", "█▁▅", "2", "lowest", "1", "at", "step", "1"],
        ["lr", "▁▅█", "0.2", "highest", "0.2", "at", "step", "2"],
        ["eval", "test", "█▁", "1", "lowest", "1", "at", "step", "1"],
    ]
