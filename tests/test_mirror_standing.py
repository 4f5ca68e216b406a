from typing import Any

from gradience.mirror import standing, verified, view
from gradience.mirror.history import History
from gradience.mirror.sink import Batch, Position
from gradience.testing import samples
from gradience.vnext.record import Record

A, B = "blake3:a", "blake3:b"


def _record(step: int | None, **event: Any) -> Record:
    return samples.records([samples.line("r", step=step, **event)])[0]


def _advice(adapter: str, step: int | None = 100) -> Record:
    said: dict[str, Any] = {"verdict": "review", "verified": "no", "adapter": adapter, "suggested_rank": 4}
    return _record(step, event="recommendation", recommendations=[], **said)


def _verification(adapter: str, outcome: str = "pass", step: int | None = 100) -> Record:
    about = {"adapter": {**samples.VERIFICATION["adapter"], "fingerprint": adapter}, "verified": outcome}
    return _record(step, event="metrics", kind="verification", metrics={**samples.VERIFICATION, **about})


def _batch(*records: Record, before: tuple[Record, ...] = ()) -> Batch:
    history = History()
    for record in before:
        history = history.after(record)
    position = Position(len(records), "x")
    return Batch(records=records, position=position, advised=history.advised, verified=history.verified)


def _verified(*records: Record, before: tuple[Record, ...] = ()) -> str | None:
    """The tag, by one batch and by one for each line: both say the same."""
    whole = view.batch_tags(_batch(*records, before=before)).get("gradience.verified")
    single: str | None = None
    for index, record in enumerate(records):
        tags = view.batch_tags(_batch(record, before=(*before, *records[:index])))
        single = tags.get("gradience.verified", single)
    assert whole == single
    return whole


def test_a_verification_replaces_the_advices_no() -> None:
    """With the rank that was verified, and of which adapter."""
    tags = view.batch_tags(_batch(_advice(A), _verification(A)))
    assert (tags["gradience.verified"], tags["gradience.verified_rank"], tags["gradience.verified_adapter"]) == (
        "pass",
        "4",
        A,
    )
    assert tags["gradience.suggested_rank"] == "4"


def test_the_latest_verification_counts() -> None:
    """A fail after a pass, and the other way round."""
    assert _verified(_advice(A), _verification(A), _verification(A, "fail")) == "fail"
    assert _verified(_advice(A), _verification(A, "fail"), _verification(A)) == "pass"


def test_an_inconclusive_one_changes_nothing() -> None:
    """It has shown nothing."""
    assert _verified(_advice(A), _verification(A), _verification(A, "inconclusive")) == "pass"
    assert _verified(_advice(A), _verification(A, "inconclusive")) == "no"


def test_advice_on_the_same_adapter_keeps_it() -> None:
    """Audited again, or the advice delivered again."""
    assert _verified(_advice(A), _verification(A), _advice(A)) == "pass"
    assert _verified(_advice(A), before=(_advice(A), _verification(A))) == "pass"


def test_advice_on_another_adapter_of_that_step_or_a_newer_is_not_verified() -> None:
    """Nor is a rank left over; when the first is spoken of again, what was verified is known again."""
    assert _verified(_advice(A), _verification(A), _advice(B, 200)) == "no"
    tags = view.batch_tags(_batch(_advice(B, 200), before=(_verification(A),)))
    assert (tags["gradience.verified_rank"], tags["gradience.verified_adapter"]) == ("none", "none")
    assert _verified(_verification(A), _advice(B), _advice(A)) == "pass"


def test_an_older_adapter_never_counts_over_a_newer() -> None:
    """Neither its verification nor, after a verification, its advice."""
    assert _verified(_advice(B, 200), _verification(A, "fail", 100)) == "no"
    assert _verified(_verification(B, "pass", 200), _verification(A, "fail", 100)) == "pass"
    assert _verified(_verification(B, "pass", 200), _advice(A, 100)) == "pass"


def test_a_run_tells_what_another_journal_has_left() -> None:
    """By its tags: the same adapter stays verified, a newer step stands."""
    tags = view.batch_tags(_batch(_advice(A, 100), _verification(A, "fail", 100)))
    assert verified.of_tags(tags) == verified.Verified(adapter=A, outcome="fail", rank=4)
    again = standing.in_light_of(_batch(_advice(A, 100)), tags)
    assert view.batch_tags(again)["gradience.verified"] == "fail"
    older = standing.in_light_of(_batch(_verification(B, "pass", 50)), tags)
    assert "gradience.verified" not in view.batch_tags(older)


def test_a_verification_has_few_points() -> None:
    """The numbers, and the difference once more beside the suggestion that it is about."""
    assert {point.key: point.value for point in view.points(_verification(A))} == {
        "verification/original": 0.9,
        "verification/compressed": 0.89,
        "verification/delta": -0.01,
        "verification/tolerance": 0.02,
        "lora_audit/verified_delta": -0.01,
    }


def test_a_verification_of_another_version_is_none() -> None:
    """What cannot be read changes no tag."""
    odd = _record(1, event="metrics", kind="verification", metrics={"verified": "pass", "delta": "x"})
    assert (verified.of_line(odd), list(view.points(odd))) == (None, [])
