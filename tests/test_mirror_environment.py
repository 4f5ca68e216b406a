"""Tests of `gradience.mirror.environment`."""

from gradience.mirror import environment


def test_a_sink_sets_what_bounds_it_and_removes_what_would_hijack_it() -> None:
    """A value is set whatever was there; None removes a variable, which may be absent already."""
    environ = {"TIMEOUT": "600", "SWEEP": "s1", "PROJECT": "p"}
    environment.enter({"TIMEOUT": "5", "SWEEP": None, "RUN": None}, environ)
    assert environ == {"TIMEOUT": "5", "PROJECT": "p"}
