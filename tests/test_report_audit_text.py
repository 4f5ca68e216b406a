from collections.abc import Callable

import click
import msgspec

from gradience.audit.record import AuditRecord
from gradience.policy.advice import advise
from gradience.report import audit_text
from gradience.report.module_rows import Wanted

MakeRecord = Callable[..., AuditRecord]
AMPLE = [8.0, 6.0, 4.0, 2.0, *[0.1] * 28]


def _text(record: AuditRecord, wanted: Wanted | None = None) -> str:
    further = audit_text.modules(record, wanted) if wanted else []
    return click.unstyle(audit_text.render(record, advise(record), further=further, verbose=True))


def test_the_verdict_stands_before_the_numbers(make_record: MakeRecord) -> None:
    """What to do is read first, what it rests on after."""
    text = _text(make_record({"0.q_proj": AMPLE}))
    assert "verdict     review: a smaller rank is worth testing (confidence medium)" in text
    assert text.index("verdict") < text.index("over_provisioned") < text.index("Candidate ranks")


def test_how_the_test_went_stands_under_the_suggestion(make_record: MakeRecord) -> None:
    """Where there was one."""
    record = make_record({"0.q_proj": AMPLE})
    advice = advise(record)
    tested = audit_text.render(record, msgspec.structs.replace(advice, verified="pass"))
    assert "  verified    pass: a compressed form of this adapter was as good" in click.unstyle(tested).splitlines()
    assert "verified" not in click.unstyle(audit_text.render(record, advice)).partition("over_provisioned")[0]


def test_the_suggested_candidate_is_marked(make_record: MakeRecord) -> None:
    """Each candidate with energy, errors, parameters and size; the suggested one has a mark."""
    rows = [line.split() for line in _text(make_record({"0.q_proj": AMPLE})).splitlines()]
    assert [">", "4", "99.8%", "4.8%", "1.2%", "4.8%", "512", "0.00205", "8"] in rows
    assert ["32", "100.0%", "0.0%", "0.0%", "0.0%", "4.1K", "0.0164", "32"] in rows


def test_no_heading_stands_over_nothing(make_record: MakeRecord) -> None:
    """A difference of two adapters may have no candidate ranks."""
    record = make_record({"0.q_proj": AMPLE})
    bare = msgspec.structs.replace(record, candidate_ranks=())
    assert "Candidate ranks" not in audit_text.render(bare, advise(record))


def test_the_most_surplus_modules_come_first(make_record: MakeRecord) -> None:
    """By (1 - k95 / r) x params: a module of low rank cannot have much to give."""
    record = make_record({"0.low": [1.0, 0.0], "1.full": [1.0] * 16, "2.one": [1.0, *[0.0] * 15]})
    lines = _text(record, Wanted(top=2)).split("Most surplus rank")[1].splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["2.one", "0.low"]


def test_every_module_is_listed_on_request(make_record: MakeRecord) -> None:
    """In the record's order; none is shown where none is wanted."""
    record = make_record({f"{i}.q_proj": AMPLE for i in range(3)})
    assert [f"{i}.q_proj" in _text(record, Wanted()) for i in range(3)] == [True] * 3
    assert "Modules" not in _text(record)


def test_a_choice_of_modules_says_what_the_other_numbers_are_of(make_record: MakeRecord) -> None:
    """What is filtered is the list, never the sums above it."""
    text = _text(make_record({"0.q_proj": AMPLE, "0.mlp": AMPLE}), Wanted(glob="*q_proj"))
    assert "Modules that match *q_proj (the numbers above are of all 2)" in text
    assert "0.mlp" not in text.split("Modules that match")[1]


def test_the_measure_that_sorts_is_shown(make_record: MakeRecord) -> None:
    """A column more, unless the table has it already."""
    record = make_record({"0.q_proj": [2.0, 1.0], "1.q_proj": [2.0, 2.0]})
    assert "surplus  nuclear_rank\n" in _text(record, Wanted(sort="-nuclear_rank"))
    assert "surplus\n" in _text(record, Wanted(sort="stable_rank"))


def test_layers_and_targets_add_up_to_their_modules(make_record: MakeRecord) -> None:
    """A block for each, with the share of the energy."""
    record = make_record({"layers.0.q_proj": [3.0], "layers.0.k_proj": [1.0], "layers.1.q_proj": [2.0]})
    lines = [line.split() for line in audit_text.groups(record)]
    assert ["layers.0", "2", "256", *["1/1"] * 3, "1.00", "1.00", "100.0%", "0.0%", "71.4%", "3.162"] in lines
    assert [line[0] for line in lines if line][-2:] == ["q_proj", "k_proj"]


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
    assert "\x1b" not in _text(record, Wanted())


def test_what_is_not_plain_lora_on_linear_layers_is_told(make_record: MakeRecord) -> None:
    """The kind of a module stands by its type, a variant by the adapter's own settings."""
    record = make_record({"0.mlp": AMPLE}, use_dora=True, use_rslora=True, initial="before")
    (module,) = record.modules
    kinds = (msgspec.structs.replace(module, kind="expert"),)
    text = _text(msgspec.structs.replace(record, modules=kinds), wanted=Wanted())
    assert "rsLoRA DoRA less its start" in text
    assert "mlp (expert)" in text
