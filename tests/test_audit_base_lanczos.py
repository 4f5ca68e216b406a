"""The bound on the largest eigenvalue, where a residual would be fooled."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradience.audit.base import lanczos

SINGULAR_VALUES: dict[str, Callable[[np.random.Generator, int], NDArray[np.floating[Any]]]] = {
    "a near tie": lambda rng, n: np.r_[1, 1 - 10 ** rng.uniform(-4, -0.5), rng.uniform(0, 0.9, n - 2)],
    "a cluster": lambda rng, n: np.r_[1 - 10 ** rng.uniform(-4, -0.5) * np.arange(9) / 8, rng.uniform(0, 0.5, n - 9)],
    "geometric": lambda rng, n: rng.uniform(0.5, 0.999) ** np.arange(n),
    "flat": lambda rng, n: rng.uniform(0.9, 1, n),
    "noise": lambda rng, n: np.linalg.svd(rng.standard_normal((n, n)), compute_uv=False),
    "noise and a spike": lambda rng, n: np.r_[rng.uniform(1, 3), np.linspace(1, 0, n - 1)],
}


@pytest.mark.parametrize("kind", SINGULAR_VALUES)
def test_the_true_value_is_in_the_bound(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """For each of many spectra and starts; and the value itself is much closer than the bound says."""
    rng = np.random.default_rng(0)
    for seed in range(30):
        monkeypatch.setattr(lanczos, "_SEED", seed)
        squares = SINGULAR_VALUES[kind](rng, int(rng.integers(20, 300))) ** 2
        found = lanczos.top(lambda vector, squares=squares: squares * vector, len(squares))  # type: ignore[misc]
        true = squares.max()
        assert found.value * (1 - 1e-12) <= true <= found.bound <= (1 + lanczos.TOLERANCE) * found.value
        assert found.value >= true * (1 - 5e-3)
