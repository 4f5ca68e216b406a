import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gradience.audit import columns
from gradience.audit.record import AUDIT_VERSION, AuditRecord
from gradience.policy import audit_event
from gradience.policy.advice import advise

MakeRecord = Callable[..., AuditRecord]
AMPLE = [8.0, 6.0, 4.0, 2.0, *[0.1] * 28]


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for item in value.values() for text in _strings(item))]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


def test_the_event_carries_the_whole_record(make_record: MakeRecord) -> None:
    """A tracker's artifacts can be rendered from the line alone; only singular values stay behind."""
    record = make_record({"layers.0.q_proj": AMPLE})
    (module,) = record.modules
    without = msgspec.structs.replace(record, modules=(msgspec.structs.replace(module, singular_values=()),))
    assert columns.unpack(audit_event.metrics(record, advise(record))) == without


def test_the_suggestion_is_flat_beside_the_summary(make_record: MakeRecord) -> None:
    """Numbers that a tracker plots stand at the top level; public names keep their 90% meaning."""
    metrics = audit_event.metrics(*(lambda record: (record, advise(record)))(make_record({"0.q_proj": AMPLE})))
    wanted = ("suggested_rank", "suggested_rank_median", "suggested_rank_p90", "suggested_r_global_90", "energy_level")
    assert [metrics[key] for key in wanted] == [4, 4, 4, 4, 0.95]
    assert metrics["candidate_params"] == [128, 256, 512, 1024, 2048, 4096]


def test_advice_that_is_withheld_is_null(make_record: MakeRecord) -> None:
    """No number that could be read as advice."""
    record = make_record({"0.q_proj": AMPLE}, init_lora_weights="pissa")
    advice = advise(record)
    assert audit_event.metrics(record, advice)["suggested_rank"] is None
    assert audit_event.recommendation(record, advice)["suggested_rank"] is None


def test_the_recommendation_has_the_flat_fields(make_record: MakeRecord) -> None:
    """What becomes a searchable tag."""
    record = make_record({"0.q_proj": AMPLE})
    payload = audit_event.recommendation(record, advise(record))
    flat = {key: value for key, value in payload.items() if key not in ("recommendations", "energy_kept")}
    assert flat == {
        "verdict": "review",
        "codes": ["over_provisioned"],
        "suggestion": "compress",
        "suggested_rank": 4,
        "rank_waste": 1 - 3 / 32,
        "confidence": "medium",
        "verified": "no",
        "audit_version": AUDIT_VERSION,
        "adapter": record.adapter.fingerprint,
    }


def test_both_events_are_plain_json_with_short_strings(make_record: MakeRecord) -> None:
    """Nothing in them would be redacted by the recorder's default."""
    record = make_record({f"{i}." + "x" * 200: AMPLE for i in range(20)})
    both = [audit_event.metrics(record, advise(record)), audit_event.recommendation(record, advise(record))]
    assert max(map(len, _strings(json.loads(json.dumps(both))))) <= 256


@pytest.mark.parametrize("count", [0, 1])
def test_the_document_has_layer_rows_only_on_request(make_record: MakeRecord, count: int) -> None:
    """`layer_data.layer_rows` is the public name; each row says its surplus."""
    record = make_record({"0.q_proj": AMPLE})
    rows = audit_event.most_surplus(record.modules, count) or None
    document = audit_event.document(record, advise(record), rows)
    assert (document["schema"], document["peft_dir"]) == ("gradience.audit/v1", "out/adapter")
    assert ("layer_data" in document) is bool(count)
    assert "modules" not in document
    if count:
        assert document["layer_data"]["layer_rows"][0]["surplus_params"] == (1 - 3 / 32) * 4096
