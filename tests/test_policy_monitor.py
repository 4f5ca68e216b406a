import math
from typing import Any

import msgspec
import pytest

from gradience.policy import catalogue, monitor
from gradience.policy.rule import TEXT_LIMIT, codes
from gradience.vnext.signals import AlertSeen, NonfiniteSeen, SealSeen, SignalSnapshot
from gradience.vnext.types import ConfigSnapshot, OptimizerConfigSnapshot, Severity
from tests.policy_cases.inputs import RUN


def _seen(**changed: Any) -> SignalSnapshot:
    return msgspec.structs.replace(RUN, **changed)


def _nan(name: str, line: int = 3) -> NonfiniteSeen:
    return NonfiniteSeen(name=name, value="NaN", step=line, line=line)


CASES = [
    ("loss_nonfinite", {"nonfinite": (_nan("train_step/loss"),)}, Severity.ERROR),
    ("loss_nonfinite", {"nonfinite": (_nan("train_step/grad_norm"),)}, Severity.ERROR),
    ("loss_nonfinite", {"nonfinite": (_nan("eval/test/loss"),)}, Severity.ERROR),
    ("run_failed", {"status": "error"}, Severity.ERROR),
    ("run_failed", {"status": "aborted"}, Severity.WARNING),
    ("run_unfinished", {"status": None, "ended": False}, Severity.WARNING),
    ("journal_changed", {"seal": SealSeen(line=9, lines=8, is_intact=False)}, Severity.WARNING),
    ("memorization_gap", {"gap": 1.5, "test_split": "test"}, Severity.INFO),
    ("gap_unavailable", {"gap": None, "gap_note": "no held-out evaluation"}, Severity.INFO),
]


def test_a_run_that_went_well_gives_no_finding() -> None:
    """Ended ok, finite numbers, a small gap."""
    assert monitor.monitor(RUN) == []


@pytest.mark.parametrize(("code", "changed", "severity"), CASES)
def test_each_fault_gives_its_finding_alone(code: str, changed: dict[str, Any], severity: Severity) -> None:
    """And its texts fit the recorder."""
    (finding,) = monitor.monitor(_seen(**changed))
    assert (finding.action, finding.severity) == (code, severity)
    assert max(len(text) for text in msgspec.to_builtins(finding).values() if isinstance(text, str)) < TEXT_LIMIT


def test_every_rule_is_shown_to_fire() -> None:
    """No rule without a case."""
    assert {code for code, _, _ in CASES} == set(codes(monitor.RULES))


@pytest.mark.parametrize(
    "changed",
    [
        {"gap": 1.49},
        {"seal": SealSeen(line=9, lines=8, is_intact=True)},
        {"gap": math.nan},
        {"nonfinite": (_nan("train_step/my_metric"), _nan("metrics/spectral/kappa"))},
        {"gap": None, "counts": {"metrics": 1}},
    ],
)
def test_what_is_no_fault_gives_no_finding(changed: dict[str, Any]) -> None:
    """A user's own metric may be NaN, a gap may be just below, a file of audits alone has no gap to miss."""
    assert monitor.monitor(_seen(**changed)) == []


def test_the_first_number_that_is_not_finite_is_named() -> None:
    """The one of the lowest line, with the count of all."""
    seen = _seen(nonfinite=(_nan("train_step/grad_norm", 9), _nan("train_step/loss", 4)))
    (finding,) = monitor.monitor(seen)
    assert "train_step/loss is NaN at step 4, the first of 2" in finding.message


@pytest.mark.parametrize("changed", [{"status": "error"}, {"status": None, "ended": False}])
def test_a_run_that_never_took_a_step_ended_after_step_0(changed: dict[str, Any]) -> None:
    """The finding is about steps that were done, of which there are none."""
    (finding,) = monitor.monitor(_seen(**changed, last_step=None))
    assert finding.message.endswith("after step 0.")


def test_a_gap_is_judged_by_the_threshold_given() -> None:
    """And the finding says which it was."""
    policy = catalogue.shipped().changed("memorization_gap", gap=1.25)
    (finding,) = monitor.monitor(_seen(gap=1.3), policy=policy)
    assert finding.evidence["thresholds"]["gap"] == 1.25
    assert finding.evidence["policy_changed"] == ["gap"]


def test_the_configuration_is_looked_over_too() -> None:
    """Warnings and errors of the pre-flight check, without its hints."""
    config = ConfigSnapshot(optimizer=OptimizerConfigSnapshot(lr=1e-2, weight_decay=-1.0))
    assert [one.action for one in monitor.monitor(_seen(config=config))] == ["fix_weight_decay", "lr_high_for_lora"]


def test_recorded_advice_and_alerts_count_for_the_bar() -> None:
    """What does not fit a finding is left out."""
    advice = {"recommendations": [{"severity": "error", "action": "adapter_untrained", "message": "m"}, {"x": 1}, 3]}
    alert = AlertSeen(severity=Severity.CRITICAL, code="OVERHEAT", message="hot", context={"t": 99})
    found = monitor.everything(_seen(recommendation=advice, alerts=(alert,)), [])
    assert [(one.action, one.severity.value) for one in found] == [
        ("OVERHEAT", "critical"),
        ("adapter_untrained", "error"),
    ]
