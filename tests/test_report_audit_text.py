from collections.abc import Callable

import click

from gradience.audit.record import AuditRecord
from gradience.policy.advice import advise
from gradience.report import audit_text

MakeRecord = Callable[..., AuditRecord]
AMPLE = [8.0, 6.0, 4.0, 2.0, *[0.1] * 28]


def _text(record: AuditRecord, **options: bool | int) -> str:
    return click.unstyle(audit_text.render(record, advise(record), **options))  # type: ignore[arg-type]


def test_the_verdict_stands_before_the_numbers(make_record: MakeRecord) -> None:
    """What to do is read first, what it rests on after."""
    text = _text(make_record({"0.q_proj": AMPLE}))
    assert "verdict     review: a smaller rank is worth testing (confidence medium)" in text
    assert text.index("verdict") < text.index("over_provisioned") < text.index("Candidate ranks")


def test_the_suggested_candidate_is_marked(make_record: MakeRecord) -> None:
    """Each candidate with energy, errors, parameters and size; the suggested one has a mark."""
    rows = [line.split() for line in _text(make_record({"0.q_proj": AMPLE})).splitlines()]
    assert [">", "4", "99.8%", "4.8%", "4.8%", "512", "0.00205"] in rows
    assert ["32", "100.0%", "0.0%", "0.0%", "4.1K", "0.0164"] in rows


def test_the_most_surplus_modules_come_first(make_record: MakeRecord) -> None:
    """By (1 - k95 / r) x params: a module of low rank cannot have much to give."""
    record = make_record({"0.low": [1.0, 0.0], "1.full": [1.0] * 16, "2.one": [1.0, *[0.0] * 15]})
    lines = _text(record, top=2).split("Most surplus rank")[1].splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["2.one", "0.low"]


def test_every_module_is_listed_on_request(make_record: MakeRecord) -> None:
    """`layers` shows them in the record's order; without it none is shown."""
    record = make_record({f"{i}.q_proj": AMPLE for i in range(3)})
    assert [f"{i}.q_proj" in _text(record, layers=True) for i in range(3)] == [True] * 3
    assert "0.q_proj" not in _text(record)


def test_abstaining_says_why_and_suggests_nothing(make_record: MakeRecord) -> None:
    """An abstention is a verdict with a reason, never an empty report."""
    text = _text(make_record({"0.q_proj": AMPLE}, init_lora_weights="pissa"))
    assert "abstain: rank advice is withheld" in text
    assert "init_lora_weights=pissa" in text
    assert "suggestion  none\n" in text


def test_no_finding_is_no_praise(make_record: MakeRecord) -> None:
    """Silence does not show that the rank is enough."""
    assert "That does not show that the rank is enough" in _text(make_record({"0.q_proj": [10.0, *[1.0] * 15]}))


def test_names_from_the_file_cannot_steer_the_terminal(make_record: MakeRecord) -> None:
    """Module names, paths and the base model are printed without their control characters."""
    record = make_record({"0.\x1b[2Jq_proj": AMPLE}, base_model="org/\x1b]0;x\x07", peft_dir="\x1b[31mout")
    assert "\x1b" not in _text(record, layers=True, verbose=True)
