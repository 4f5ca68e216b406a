"""The thread setting of numpy's BLAS: one inside, the caller's afterwards."""

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from gradience.audit.spectra import blas


def threads() -> set[int]:
    """What the BLAS libraries of this process are set to."""
    np.linalg.norm(np.ones(2))  # numpy's own is loaded
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def _two() -> Iterator[None]:
    """A caller's own setting."""
    with threadpool_limits(2, user_api="blas"):
        yield


def test_the_callers_setting_comes_back() -> None:
    """Inside a trainer, an audit must not slow down what follows; not even one that fails."""
    with contextlib.suppress(ZeroDivisionError), blas.one_thread():
        assert threads() == {1}
        raise ZeroDivisionError
    assert threads() == {2}


def test_the_last_who_leaves_puts_it_back() -> None:
    """Audits in several threads overlap in any order."""
    first, second = blas.one_thread(), blas.one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert threads() == {1}
    second.__exit__(None, None, None)
    assert threads() == {2}
