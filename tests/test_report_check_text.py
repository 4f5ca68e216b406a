import click

from gradience.policy.check import check
from gradience.report import check_text
from gradience.settings.snapshot import snapshot


def _text(**settings: object) -> str:
    config = snapshot(settings)
    return click.unstyle(check_text.render(config, check(config)))


def test_what_was_read_is_said_first() -> None:
    """A reader sees at once whether the right file was given; the scale is worked out."""
    text = _text(model="org/base", r=16, lora_alpha=64, use_rslora=True, optim="adamw", lr=2e-4, max_steps=500)
    assert "  model       org/base\n" in text
    assert "  adapter     r=16, alpha=64, scale 16, rsLoRA\n" in text
    assert "  training    adamw, lr 0.0002 (x scale 0.0032), 500 steps\n" in text


def test_no_finding_is_no_praise() -> None:
    """A check knows only what it was given."""
    assert _text(lr=1e-4).endswith(check_text.NOTHING)


def test_a_finding_says_what_would_refute_it() -> None:
    """Fact, hypothesis, test, limits."""
    text = _text(lr=1e-2)
    assert "warning lr_high_for_lora (medium confidence)" in text
    assert [label in text for label in ("hypothesis", "test", "limits")] == [True] * 3
