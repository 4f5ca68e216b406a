"""How many workers a machine is good for."""

import os

import pytest

from gradience.audit.spectra import threads


@pytest.mark.parametrize(
    ("bound", "expected"), [("1", 1), ("1,4", 1), ("0", 1), ("100000", None), ("", None), ("x", None)]
)
def test_the_bound_of_numerical_libraries_holds_here_too(
    monkeypatch: pytest.MonkeyPatch, bound: str, expected: int | None
) -> None:
    """One of many processes on a machine is told so by OMP_NUM_THREADS; what makes no sense bounds nothing."""
    monkeypatch.setenv("OMP_NUM_THREADS", bound)
    found = threads.cpus()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert found == (expected or threads.cpus())
    if hasattr(os, "sched_getaffinity"):
        assert threads.cpus() == len(os.sched_getaffinity(0))
