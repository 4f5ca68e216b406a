"""Tests of `gradience.mirror.reason`: what went wrong, in words that fit into a sentence."""

from gradience.mirror import reason


def test_a_reason_has_no_full_stop() -> None:
    """It stands in parentheses and before colons; three dots stay, as more was said."""
    assert reason.of(ValueError("Nobody is\nlogged in.")) == "Nobody is logged in"
    assert reason.of(ValueError("cut off ...")) == "cut off ..."


def test_an_error_without_words_is_told_by_its_class() -> None:
    """Something has to stand there."""
    assert reason.of(TimeoutError()) == "TimeoutError"
