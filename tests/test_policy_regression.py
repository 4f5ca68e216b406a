import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from gradience.audit.record import AuditRecord
from gradience.errors import InputError
from gradience.policy import audit_event, regression
from gradience.policy.advice import advise
from gradience.policy.regression import Facts
from gradience.policy.rule import at_or_above

MakeRecord = Callable[..., AuditRecord]
SPECTRA: dict[str, Sequence[float]] = {"0.q_proj": [3.0, 1.0, 0.1], "0.mlp.up": [2.0, 1.5, 1.0]}


@pytest.fixture
def before(make_record: MakeRecord) -> Facts:
    """The facts of the baseline."""
    return regression.of(make_record(SPECTRA))


def _changed(before: Facts, **fields: Any) -> list[str]:
    return [one.action for one in regression.judge(msgspec.structs.replace(before, **fields), before)]


def test_an_adapter_is_no_worse_than_itself(before: Facts) -> None:
    """Nor than one that it improves on."""
    assert regression.judge(before, before) == []
    assert _changed(before, n_layers=3, rank_waste=0.0, sigma_max=0.5, total_lora_params=1) == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"has_untrained": True}, "regression_untrained"),
        ({"n_layers": 1}, "regression_modules"),
        ({"rank_waste": 0.9}, "regression_rank_waste"),
        ({"sigma_max": 9.1}, "regression_spectral_norm"),
        ({"fro_norm": 0.3}, "regression_vanished"),
    ],
)
def test_what_broke_on_the_way_is_found(before: Facts, fields: dict[str, Any], code: str) -> None:
    """Each by a code of its own, and all of them by the family's name."""
    assert _changed(before, **fields) == [code]
    found = regression.judge(msgspec.structs.replace(before, **fields), before)
    assert at_or_above(found, "regression") == at_or_above(found, code) == found
    assert at_or_above(found, "regress") == []


def test_thresholds_are_exceeded_not_met(before: Facts) -> None:
    """Just at the bar is not over it."""
    waste = before.rank_waste
    bars = {"rank_waste": waste + 0.1 - 1e-9, "sigma_max": 9.0, "fro_norm": before.fro_norm / 10 * (1 + 1e-9)}
    assert _changed(before, **bars) == []


def test_a_baseline_of_zeros_is_no_bar(before: Facts) -> None:
    """Nothing is a multiple of zero, and one untrained adapter is not worse than another."""
    zero = msgspec.structs.replace(before, sigma_max=0.0, fro_norm=0.0, has_untrained=True)
    assert regression.judge(before, zero) == []
    assert regression.judge(zero, zero) == []


def test_a_saved_audit_has_the_same_facts(make_record: MakeRecord) -> None:
    """What `gradience audit --json` prints is enough."""
    spectra = {**SPECTRA, "1.q_proj": [0.0, 0.0, 0.0]}
    record = msgspec.structs.replace(make_record(spectra), issues=("untrained_modules: one",))
    saved = json.dumps(audit_event.document(record, advise(record))).encode()
    assert regression.read(saved, "saved.json") == regression.of(record)
    assert regression.of(record).has_untrained


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b'{"schema": "gradience.compare/v1"}', b'{"schema": 1}'])
def test_another_file_is_no_baseline(raw: bytes) -> None:
    """One line says what would be."""
    with pytest.raises(InputError, match=r"^cannot compare with x\.json: it is no saved audit") as raised:
        regression.read(raw, "x.json")
    assert len(str(raised.value).splitlines()) == 1


def test_rank_waste_is_compared_at_one_energy_level(before: Facts) -> None:
    """At another one it differs anyway."""
    with pytest.raises(InputError, match=r"at energy level 0.9, not 0.95; give the same"):
        regression.judge(before, msgspec.structs.replace(before, energy_level=0.9))
