"""Adapters that PEFT 0.18 wrote, with the spectra of its own updates; no PEFT is needed to read them."""

import json
from pathlib import Path

import pytest

from gradience.audit import audit
from gradience.audit.record import AuditRecord

FOLDER = Path(__file__).parent / "peft018"
CASES = sorted(path.parent.name for path in FOLDER.glob("*/truth.json"))


def read(case: str) -> AuditRecord:
    """The audit of one of them."""
    return audit(FOLDER / case)


@pytest.mark.parametrize("case", CASES)
def test_each_spectrum_is_that_of_pefts_own_update(case: str) -> None:
    """For every layer, variant and layout of that version, the experts that were stored transposed included."""
    truth = json.loads((FOLDER / case / "truth.json").read_text())
    modules = {module.name: module for module in read(case).modules}
    assert modules.keys() == truth.keys()
    for name, module in modules.items():
        values = truth[name][: module.r]
        assert module.singular_values == pytest.approx(values, rel=1e-9, abs=2 * module.sigma_floor)


@pytest.mark.parametrize("case", ["experts", "two_parameters"])
def test_stacked_experts_of_that_version_are_noted(case: str) -> None:
    """Newer ones cannot load them."""
    assert [issue.split(":")[0] for issue in read(case).issues] == ["old_experts"]
