"""Whatever a journal says, it is looked at: numbers no float holds, steps that jump, payloads of another shape."""

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradience.cli import recorded
from gradience.cli.live import picture
from gradience.cli.live.picture import Live
from gradience.cli.recorded import Asked
from gradience.report import monitor_text, runs, runs_text
from gradience.report.html import run_report

ODD: st.SearchStrategy[Any] = st.sampled_from(
    [0, -1, 1e308, -1e308, 1e-320, 2**62, 10**400, True, None, "x", "1e-4", [1.0, None], [], {}]
)
NUMBER = st.floats() | ODD
STEP = st.integers(0, 50) | st.sampled_from([None, 2**62, -1, "7", 1.5])
METRICS = st.dictionaries(st.sampled_from(["loss", "ppl", "accuracy", "n", "f1/x", ""]), NUMBER) | ODD
CONFIG = st.fixed_dictionaries({"training": ODD, "lora": METRICS}) | ODD
ALERT = {"severity": st.sampled_from(["error", "bad"]), "code": st.just("loss_spike"), "message": ODD}
PAYLOADS = {
    "train_step": st.fixed_dictionaries({}, optional=dict.fromkeys(("loss", "lr", "grad_norm"), NUMBER)),
    "eval": st.fixed_dictionaries({"split": st.sampled_from(["test", "train", "a/b", "", 3]), "metrics": METRICS}),
    "alert": st.fixed_dictionaries(ALERT),
    "run_start": st.fixed_dictionaries({"config": CONFIG, "meta": METRICS}),
    "run_end": st.fixed_dictionaries({"status": st.sampled_from(["ok", "?", 3])}),
    "metrics": st.fixed_dictionaries({"kind": st.sampled_from(["lora_audit", "verification"]), "metrics": METRICS}),
    "recommendation": st.fixed_dictionaries({"recommendations": ODD, "verdict": ODD, "suggested_rank": ODD}),
}
EVENT = st.sampled_from(sorted(PAYLOADS)).flatmap(
    lambda name: st.tuples(st.just(name), STEP, st.sampled_from(["a", "b"]), PAYLOADS[name])
)


def _line(event: tuple[str, Any, str, dict[str, Any]]) -> str:
    name, step, run_id, payload = event
    head = {"schema": "gradience.vnext.telemetry/v1", "ts": 1e9, "run_id": run_id, "event": name, "step": step}
    return json.dumps({**head, **payload})


@given(st.lists(EVENT, min_size=1, max_size=30))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_journal_says_it_is_looked_at(tmp_path: Path, events: list[Any]) -> None:
    """The summary, the table, the report and the live picture are made of it, without an error."""
    path = tmp_path / "run.jsonl"
    path.write_text("".join(f"{_line(event)}\n" for event in events))
    one = recorded.read(str(path), Asked())
    curves, marks = one.replay.course.curves(), one.replay.marks
    assert monitor_text.render("x", one.seen, one.found, curves, verbose=True)
    assert run_report.render("x", one.seen, curves, marks, one.found).endswith("</html>")
    row = runs.run("x", one.seen, curves, one.found, one.replay.fired)
    assert runs_text.render([row, row])
    json.dumps(runs.document([row, row]))
    assert picture.lines(Live(file="x", seen=one.seen, curves=curves, marks=marks), 60)
