"""One event to one line, and back."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.errors import TelemetryError
from gradience.vnext import codec
from gradience.vnext.types import SCHEMA, Alert, Eval, RecommendationEvent, Severity, TrainStep, UnknownEvent

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text("abcé/~", max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcé/~", max_size=9), inner, max_size=4),
    max_leaves=15,
)


def line(event: str = "train_step", **fields: Any) -> bytes:
    """A line as the public release writes it: bare NaN, blanks after the separators."""
    return json.dumps({"schema": SCHEMA, "ts": 1.5, "run_id": "r", "event": event, "step": 1} | fields).encode() + b"\n"


def told(raw: bytes) -> list[str]:
    """The problems of a line."""
    problems: list[str] = []
    codec.decode(raw, problems)
    return problems


@given(st.dictionaries(st.text("abcé/~", min_size=1, max_size=9), JSON, max_size=5))
def test_every_payload_survives_the_round_trip(payload: dict[str, Any]) -> None:
    """What is written is one strict line, and reads back equal, non-finite numbers included."""
    raw = codec.Encoder().event(1.0, "r", "custom", 1, payload)
    json.loads(raw, parse_constant=pytest.fail)
    back = codec.decode_mapping(raw)
    assert raw.count(b"\n") == 1
    assert repr({key: back[key] for key in payload}) == repr(payload)


def test_nan_is_null_in_strict_json_and_nan_again_in_the_event() -> None:
    """A NaN loss, the most important event of a run, survives in a form that every reader takes."""
    raw = codec.Encoder().event(1.0, "r", "train_step", 1, {"loss": math.nan, "lr": [1e-5, math.inf]})
    fields = json.loads(raw, parse_constant=pytest.fail)
    event = codec.decode(raw)
    assert (fields["loss"], fields["nonfinite"]) == (None, {"/loss": "NaN", "/lr/1": "Infinity"})
    assert isinstance(event, TrainStep)
    assert repr((event.loss, event.lr)) == repr((math.nan, [1e-5, math.inf]))


def test_the_envelope_cannot_be_overwritten() -> None:
    """A payload key named like the envelope is kept under another name, and counted."""
    encoder = codec.Encoder()
    fields = json.loads(encoder.event(1.0, "r", "e", 2, {"run_id": "X", "ts": 0, "event": "Y", "nonfinite": 1}))
    assert {key: fields[key] for key in ("run_id", "ts", "event")} == {"run_id": "r", "ts": 1.0, "event": "e"}
    assert {key: fields[f"{key}_"] for key in ("run_id", "ts", "event", "nonfinite")} == {
        "run_id": "X",
        "ts": 0,
        "event": "Y",
        "nonfinite": 1,
    }
    assert encoder.renamed == 4


@pytest.mark.parametrize(
    ("step", "written"), [(3, 3), (np.int64(3), 3), (3.0, 3), (None, None), (True, None), (-1, None), (2**70, None)]
)
def test_a_step_is_a_count_or_null(step: Any, written: int | None) -> None:
    """What is no step is kept beside it."""
    fields = json.loads(codec.Encoder().event(1.0, "r", "e", step, {}))
    assert fields["step"] == written
    assert ("step_" in fields) == (written is None and step is not None)


def test_keys_seen_before_take_the_fast_road_only_while_values_are_plain() -> None:
    """The second event with known keys is checked as well as the first."""
    encoder = codec.Encoder()
    for value in (1.0, 2.0, math.nan, "x" * 300, 10**30):
        fields = json.loads(encoder.event(1.0, "r", "e", 1, {"loss": value}))
    assert fields["loss"] == 1e30


def test_files_of_the_public_release_read_without_loss() -> None:
    """Bare NaN and infinities are values, told by the event as our own files tell them."""
    raw = line(loss=math.nan, x={"y": [-math.inf]})
    event = codec.decode(raw)
    assert told(raw) == []
    assert event.nonfinite == {"/loss": "NaN", "/x/y/0": "-Infinity"}
    assert codec.decode_mapping(raw)["x"] == {"y": [-math.inf]}


def test_numbers_written_as_text_are_kept_and_told() -> None:
    """The public release turned numpy scalars into text."""
    raw = line(step="2", loss="1.5")
    event = codec.decode(raw)
    assert isinstance(event, TrainStep)
    assert (event.step, event.loss) == (2, 1.5)
    assert [problem.partition(":")[0] for problem in told(raw)] == ["step is '2'", "loss is '1.5'"]


@pytest.mark.parametrize("step", [True, 1.5, -1, "x", [1]])
def test_what_is_no_step_is_told(step: Any) -> None:
    """The event stays, without a step."""
    assert codec.decode(line(step=step)).step is None
    assert [problem[:7] for problem in told(line(step=step))] == ["step is"]


def test_an_alert_may_carry_metadata_instead_of_context() -> None:
    """The public guard wrote `metadata`; severities in capitals are severities."""
    event = codec.decode(line("alert", severity="warning", code="G", message="m", metadata={"a": 1}))
    assert isinstance(event, Alert)
    assert event.context == {"a": 1}
    loud = codec.decode(line("alert", severity="CRITICAL", code="G", message="m"))
    assert isinstance(loud, Alert)
    assert loud.severity is Severity.CRITICAL


def test_what_is_missing_or_misshapen_gets_the_public_defaults_and_is_told() -> None:
    """An eval without a split is of the split `unknown`."""
    raw = line("eval", metrics=[1])
    event = codec.decode(raw)
    assert isinstance(event, Eval)
    assert (event.split, event.metrics) == ("unknown", {})
    assert told(raw)[0] == "no split"
    assert "metrics is [1]" in told(raw)[1]


def test_one_bad_recommendation_does_not_take_the_others_along() -> None:
    """Each item is read on its own."""
    good = {"severity": "info", "action": "a", "message": "m"}
    event = codec.decode(line("recommendation", recommendations=[good, 3]))
    assert isinstance(event, RecommendationEvent)
    assert [item.action for item in event.recommendations] == ["a"]


def test_unknown_events_and_keys_survive() -> None:
    """A later version's event is an event, without a problem."""
    raw = line("shiny", new={"a": 1})
    assert codec.decode(raw) == UnknownEvent(event="shiny", ts=1.5, run_id="r", step=1)
    assert told(raw) == []
    assert codec.decode_mapping(raw)["new"] == {"a": 1}


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"\xef\xbb\xbf" + line(), []),
        (b"\0\0" + line(), ["2 NUL bytes"]),
        (b'{"schema": "grad' + line(), ["a torn line stands before this one"]),
        (line(x="?").replace(b"?", b"\xff"), ["not UTF-8 at byte 109"]),
        (line(run_id="r?").replace(b"r?", b"r\xff"), ["not UTF-8 at byte 66"]),
        (line(x="\u00e9"), []),
        (line(x="?").replace(b"?", "é".encode()), []),
        (line(run_id="r") + b"\r", []),
    ],
)
def test_damage_around_an_event_does_not_hide_it(raw: bytes, problem: list[str]) -> None:
    """BOM, NUL blocks, a torn line before, bytes that are no UTF-8: the event is read, the damage told."""
    assert codec.decode(raw).run_id.startswith("r")
    assert told(raw) == problem


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (line(schema="v9"), "schema is 'v9'"),
        (line().replace(b'"schema"', b'"scheme"'), "schema is None"),
        (line(run_id=None), "no run_id"),
        (line(run_id=7), "run_id is 7"),
        (line(ts=math.nan), "ts is nan"),
        (line().replace(b"1.5", b"1" * 5000), "ts is inf"),
    ],
)
def test_what_is_no_telemetry_is_refused(raw: bytes, message: str) -> None:
    """The reason is given in a line."""
    with pytest.raises(TelemetryError, match=message):
        codec.decode(raw)


def test_lone_surrogates_in_a_file_do_not_reach_the_reader() -> None:
    """Text that could not be printed is mended."""
    raw = line(x="?").replace(b"?", b"\\ud800")
    assert codec.decode_mapping(raw)["x"] == "?"
