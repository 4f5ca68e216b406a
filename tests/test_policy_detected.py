from gradience.policy import catalogue, detected
from gradience.policy.detectors import Monitors
from gradience.policy.replay import Replay
from gradience.vnext import codec
from gradience.vnext.record import Record
from gradience.vnext.signals import AlertSeen
from gradience.vnext.types import Severity


def _replayed(losses: list[float]) -> tuple[AlertSeen, ...]:
    head = {"schema": "gradience.vnext.telemetry/v1", "ts": 1.0, "run_id": "a", "event": "train_step"}
    lines = [codec.encode({**head, "step": step, "loss": loss}) for step, loss in enumerate(losses)]
    replay = Replay(detectors=Monitors)
    replay.take([Record(number, 0, raw, codec.decode(raw)) for number, raw in enumerate(lines, 1)])
    return replay.fired


def test_what_detectors_fire_is_a_finding_with_its_test() -> None:
    """With the facts of the alert, the thresholds that were used, and the words of the rule; the state stays behind."""
    fired = _replayed([1.0 + 0.01 * (step % 3) for step in range(60)] + [9.0] + [1.0] * 10)
    (found,) = detected.findings(fired, catalogue.shipped())
    assert (found.action, found.severity) == ("loss_spike", Severity.INFO)
    assert found.message.startswith("The training loss of 9 at step 60 is a spike")
    assert found.test
    assert found.limits
    assert found.evidence["thresholds"] == catalogue.shipped().thresholds("loss_spike")
    assert "state" not in found.evidence


def test_a_rule_that_fired_often_is_one_finding() -> None:
    """The latest is told, with how often and since when; what is no rule of ours is no finding."""
    fired = _replayed([9.0 if step in (60, 200, 340) else 1.0 + 0.01 * (step % 3) for step in range(400)])
    other = AlertSeen(severity=Severity.ERROR, code="of_somebody_else", message="?", step=1)
    (found,) = detected.findings([*fired, other], catalogue.shipped())
    assert found.message.startswith("The training loss of 9 at step 340 is a spike")
    assert found.message.endswith(" The last of 3, the first at step 60.")
    assert (found.evidence["count"], found.evidence["first_step"], found.evidence["last_step"]) == (3, 60, 340)


def test_an_alert_that_was_recorded_and_fired_counts_once() -> None:
    """By severity."""
    spike = AlertSeen(severity=Severity.INFO, code="loss_spike", message="x", count=2)
    other = AlertSeen(severity=Severity.WARNING, code="HOT", message="x")
    assert detected.counted([spike], [spike, other]) == {"info": 2, "warning": 1}
