"""The audit as an event's payload, and back."""

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradience.audit import columns
from gradience.audit.record import AuditRecord
from gradience.errors import InputError

MakeRecord = Callable[..., AuditRecord]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(spectra=st.lists(st.lists(st.floats(1e-30, 1e30), min_size=1, max_size=8), min_size=1, max_size=5))
def test_the_round_trip_loses_only_singular_values(make_record: MakeRecord, spectra: list[list[float]]) -> None:
    """Through strict JSON, every number comes back bit for bit."""
    names = {f"layers.{i}.mlp": sorted(values, reverse=True) for i, values in enumerate(spectra)}
    record = make_record(names)
    line = json.dumps(columns.pack(record), allow_nan=False)
    without = [msgspec.structs.replace(module, singular_values=()) for module in record.modules]
    assert columns.unpack(json.loads(line)) == msgspec.structs.replace(record, modules=tuple(without))


def test_the_summary_is_flat_and_the_modules_are_columns(make_record: MakeRecord) -> None:
    """What a tracker charts stands at the top under the public names; lists of equal length hold the table."""
    packed = columns.pack(make_record({"0.q_proj": [2, 1], "0.mlp": [1, 1]}))
    assert packed["n_layers"] == 2
    assert packed["by_type"]["mlp"]["n_layers"] == 1
    assert packed["modules"]["name"] == ["0.q_proj", "0.mlp"]
    assert {len(column) for column in packed["modules"].values()} == {2}
    assert "singular_values" not in packed["modules"]
    assert packed["by_target"]["name"] == ["q_proj", "mlp"]


def test_further_keys_do_not_disturb(make_record: MakeRecord) -> None:
    """Suggestions stand beside the audit in the same event, and later versions add fields."""
    packed = columns.pack(make_record({"0.q_proj": [2, 1]}))
    packed["modules"]["new"] = [1]
    del packed["modules"]["kind"]  # has a default: not every version writes it
    assert columns.unpack({**packed, "suggested_rank": 1}) == columns.unpack(packed)


@pytest.mark.parametrize(
    "damage", [{"modules": None}, {"modules": {}}, {"by_layer": 1}, {"n_layers": "two"}, {"adapter": []}]
)
def test_what_is_no_audit_is_refused(make_record: MakeRecord, damage: dict[str, object]) -> None:
    """One line, no traceback."""
    with pytest.raises(InputError, match="cannot read the audit"):
        columns.unpack({**columns.pack(make_record({"0.q_proj": [2, 1]})), **damage})
