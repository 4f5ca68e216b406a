from typing import Any

from gradience.curves.course import Course, document
from gradience.vnext import codec
from gradience.vnext.types import AnyEvent, UnknownEvent


def _event(event: str, step: int | None = None, **payload: Any) -> AnyEvent | UnknownEvent:
    fields = {"schema": "gradience.vnext.telemetry/v1", "ts": 1.0, "run_id": "a", "step": step, "event": event}
    return codec.decode(codec.encode(fields | payload))


def _points(course: Course) -> dict[str, list[tuple[int, float]]]:
    return {name: [(one.last, one.end) for one in curve.buckets] for name, curve in course.curves().items()}


def test_each_number_of_training_and_evaluation_is_a_curve() -> None:
    """By name; what was not logged leaves no gap, and words make no curve."""
    course = Course()
    course.take([
        _event("run_start", config={}),
        _event("train_step", 1, loss=3.0, lr=0.1),
        _event("train_step", 2, loss=2.0),
        _event("eval", 2, split="test", metrics={"loss": 2.5, "f1": 1, "note": "x", "is": True, "huge": 10**400}),
        _event("train_step", 3, lr=0.2),
    ])  # fmt: skip
    assert _points(course) == {
        "loss": [(1, 3.0), (2, 2.0)],
        "lr": [(1, 0.1), (3, 0.2)],
        "eval/test/loss": [(2, 2.5)],
        "eval/test/f1": [(2, 1.0)],
    }


def test_a_resume_tells_its_steps_anew() -> None:
    """From its first step on, which may be an evaluation's; a start that goes on where it was changes nothing."""
    course = Course()
    steps = [_event("train_step", step, loss=float(step)) for step in range(4)]
    course.take([*steps, _event("eval", 3, split="val", metrics={"loss": 1.0})])
    course.take([_event("run_start", config={}), _event("train_step", 2, loss=9.0)])
    assert _points(course) == {"loss": [(0, 0.0), (1, 1.0), (2, 9.0)]}
    course.take([_event("run_start", config={}), _event("train_step", 3, loss=8.0)])
    assert _points(course)["loss"][-2:] == [(2, 9.0), (3, 8.0)]


def test_parameter_groups_have_a_curve_each() -> None:
    """The first one's is `lr`, as if it were the only one."""
    course = Course()
    course.take([_event("train_step", 1, lr=[0.1, None]), _event("train_step", 2, lr=[0.2, 3.2])])
    assert _points(course) == {"lr": [(1, 0.1), (2, 0.2)], "lr/1": [(2, 3.2)]}


def test_a_step_that_is_not_told_stands_where_the_last_one_did() -> None:
    """So that a curve never runs backwards."""
    course = Course()
    course.take([_event("train_step", 5, loss=1.0), _event("train_step", loss=2.0)])
    assert _points(course) == {"loss": [(5, 1.0), (5, 2.0)]}


def test_the_document_holds_columns() -> None:
    """One list per property, as plotting libraries take them; NaN is a step."""
    course = Course()
    course.take([_event("train_step", 1, loss=2.0), _event("train_step", 2, loss=float("nan"))])
    assert document(course.curves())["loss"] == {
        "first_step": [1], "step": [1], "mean": [2.0], "min": [2.0], "max": [2.0], "last": [2.0], "count": [1],
        "nonfinite_steps": [2], "nonfinite_count": 1,
    }  # fmt: skip
