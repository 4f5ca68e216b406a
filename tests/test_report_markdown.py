import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.audit.record import AuditRecord
from gradience.policy import audit_event
from gradience.policy.advice import advise
from gradience.report.markdown import LIMIT, audit_note, escaped

MakeRecord = Callable[..., AuditRecord]
AMPLE = [8.0, 6.0, 4.0, 2.0, *[0.1] * 28]


def _payloads(record: AuditRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    advice = advise(record)
    both = audit_event.metrics(record, advice), audit_event.recommendation(record, advice)
    return json.loads(json.dumps(both[0])), json.loads(json.dumps(both[1]))


def _note(metrics: dict[str, Any], advice: Any) -> str:
    """The note without the gaps between columns, which are for trackers that leave none."""
    return audit_note(metrics, advice).replace("\u00a0", "")


def test_the_first_line_is_the_verdict(make_record: MakeRecord) -> None:
    """Trackers fold a note after a few lines."""
    note = _note(*_payloads(make_record({"0.q_proj": AMPLE})))
    assert note.splitlines()[0] == "**Verdict: review** (medium confidence): a smaller rank is worth testing."


def test_how_the_test_went_stands_in_the_first_line(make_record: MakeRecord) -> None:
    """Where there was one."""
    metrics, advice = _payloads(make_record({"0.q_proj": AMPLE}))
    first = _note(metrics, {**advice, "verified": "fail"}).splitlines()[0]
    assert first.endswith("is worth testing. Verified: fail; a compressed form of this adapter was worse.")


def test_a_finding_comes_with_its_test_and_limits(make_record: MakeRecord) -> None:
    """The note alone lets a reader act."""
    note = _note(*_payloads(make_record({"0.q_proj": AMPLE})))
    assert "**over\\_provisioned** (info, medium confidence)" in note
    assert "- **Test.** `gradience compress --rank 4`, then `gradience verify` with the same" in note
    assert "- **Limits.** Not shown: that training at rank 4 would do as well" in note
    assert "\n### To test it\n\n```bash\ngradience compress --peft-dir out/adapter --rank 4 --out adapter-r4\n" in note


def test_tables_are_github_flavoured(make_record: MakeRecord) -> None:
    """Candidates with the suggested one in bold, then types, then targets."""
    note = _note(*_payloads(make_record({"0.q_proj": AMPLE, "0.mlp": AMPLE})))
    assert "| rank | energy kept | relative error | worst module | params | MB | vLLM slot |\n| --- | ---: |" in note
    assert "| **4** | 99.8% |" in note
    first = [line.split("|")[1].strip() for line in note.splitlines() if line.startswith("|")]
    assert first[first.index("type") :] == ["type", "---", "attn", "mlp", "all", "target", "---", "q\\_proj", "mlp"]


def test_columns_do_not_touch(make_record: MakeRecord) -> None:
    """Where a tracker sets them side by side without a gap, spaces that do not break hold them apart."""
    note = audit_note(*_payloads(make_record({"0.q_proj": AMPLE})))
    assert "| rank | \u00a0\u00a0energy kept | \u00a0\u00a0relative error |" in note


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("run `a_b` now", "run `a_b` now"),
        ("an open ` mark_", "an open \\` mark\\_"),
        ("`<b>\n` and _this_", "`<b>\\n` and \\_this\\_"),
    ],
)
def test_commands_in_a_sentence_are_shown_as_such(said: str, shown: str) -> None:
    """Text from a file becomes no other markup by that."""
    finding = {"severity": "info", "action": "x", "message": said, "confidence": 0.5}
    assert shown in _note({}, {"recommendations": [finding]})


def test_the_tables_stand_without_advice(make_record: MakeRecord) -> None:
    """A run whose recommendation event is missing still gets its numbers."""
    note = _note(_payloads(make_record({"0.q_proj": AMPLE}))[0], None)
    assert "Verdict" not in note
    assert "| 4 | 99.8% |" in note


def test_an_audit_of_another_producer_shows_its_numbers() -> None:
    """The public release's event has other columns; its plain numbers are shown as they are."""
    note = _note({"stable_rank_mean": 1.23456, "issues": ["x"], "by_type": {"attn": {}}, "flag": True}, None)
    assert note == "| measure | value |\n| --- | ---: |\n| stable\\_rank\\_mean | 1.235 |"


@pytest.mark.parametrize(
    "advice", [{}, {"verdict": [3], "recommendations": [1, {"severity": "odd"}], "confidence": None}]
)
def test_a_strange_recommendation_breaks_nothing(advice: dict[str, Any]) -> None:
    """What is not understood is left out."""
    assert isinstance(_note({}, advice), str)


@pytest.mark.parametrize("broken", ["candidate_ranks", "energy_kept", "modules", "by_type"])
def test_an_audit_that_does_not_fit_together_shows_its_numbers(make_record: MakeRecord, broken: str) -> None:
    """Lists of unequal length or missing parts are another producer's business."""
    metrics = _payloads(make_record({"0.q_proj": AMPLE}))[0]
    metrics[broken] = [1] if broken != "candidate_ranks" else [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert _note(metrics, None).startswith("| measure | value |")


def test_text_from_files_is_escaped(make_record: MakeRecord) -> None:
    """A name can neither open a tag, nor a link, nor a table cell."""
    metrics, advice = _payloads(make_record({"0.q_proj": AMPLE}))
    advice["recommendations"][0]["message"] = "<script>|[x](javascript:1)\n# head"
    note = _note(metrics, advice)
    assert "&lt;script&gt;\\|\\[x\\](javascript:1)\\\\n\\# head" in note


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://evil.example/x", "see https&#58;//evil.example/x"),
        ("HTTP://x, ftp://y", "HTTP&#58;//x, ftp&#58;//y"),
        ("www.evil.example, Www.x", "www\\.evil.example, Www\\.x"),
        ("@octocat, me@evil.example", "&#64;octocat, me&#64;evil.example"),
        ("![x](y) `code` $1$ &lt; a_b ~~c~~", "!\\[x\\](y) \\`code\\` &#36;1&#36; &amp;lt; a\\_b \\~\\~c\\~\\~"),
        ("a | b\n- c\x1b[2J", "a \\| b\\\\n- c\\\\x1b\\[2J"),
    ],
)
def test_text_becomes_no_link_and_no_markup(text: str, expected: str) -> None:
    """Trackers make links of addresses and @names by themselves; MLflow's pages show a backslash before `<` or `&`."""
    assert escaped(text) == expected


@given(st.text() | st.lists(st.sampled_from([*"\\`*_{}[]<>|~#&$@:/.!()\n", "www", "http", "//"])).map("".join))
def test_nothing_in_an_escaped_text_is_markup(text: str) -> None:
    """Whatever is left besides what was escaped means itself."""
    left = re.sub(r"\\[\\`*_{}\[\]|~#.]|&(?:lt|gt|amp|#\d+);", " ", escaped(text))
    assert re.findall(r"[\\`*_{}\[\]|~#<>&$@\n]|\w://|(?i:www\.)", left) == []


def test_an_adapter_s_fingerprint_is_text_too(make_record: MakeRecord) -> None:
    """It comes from a file like everything else."""
    metrics, advice = _payloads(make_record({"0.q_proj": AMPLE}))
    metrics["adapter"]["fingerprint"] = "`<img src=x>"
    assert _note(metrics, advice).endswith("adapter \\`&lt;img src=x&gt;")


def test_a_note_fits_the_shortest_limit_of_a_tracker(make_record: MakeRecord) -> None:
    """It is cut at a line's end, and says so."""
    metrics, advice = _payloads(make_record({"0.q_proj": AMPLE}))
    advice["recommendations"] *= 100
    note = _note(metrics, advice)
    assert len(note) <= LIMIT
    assert note.endswith("\n…")
