"""The products of `spectrum` on another device, in float64: factors go there in stacks, r x r matrices come back.

Only products: a GPU's solvers for small symmetric matrices are slower than the host's, and differ from build to build.
"""

from collections.abc import Iterable
from itertools import chain, islice

import torch
from torch import Tensor

from gradience.audit.spectra.spectrum import Array

STACK_BYTES = 128 << 20  # of factors that are multiplied together; they take as much again while they are put together


class Gpu:
    """Any device of torch that has float64."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def grams(self, factors: Iterable[Array]) -> Array:
        """The Gram of each of some factors (r, n) of one shape, at least one; each is copied before the next comes."""
        products, rest = [], iter(factors)
        for first in rest:
            stack = chain((first,), islice(rest, max(0, STACK_BYTES // first.nbytes - 1)))
            products.append(grams(torch.stack([self._copy(factor) for factor in stack])))
        host: Array = torch.cat(products).cpu().numpy()
        return host

    def triangle(self, columns: Array) -> Array:
        """As `spectrum.triangle`."""
        host: Array = torch.linalg.qr(self._copy(columns), mode="r").R.cpu().numpy()
        return host

    def _copy(self, factor: Array) -> Tensor:
        return torch.from_numpy(factor).to(self._device, copy=True)


def grams(stack: Tensor) -> Tensor:
    """Rows · rowsᵀ (n, r, r) of a stack (n, r, width), where it is."""
    return stack @ stack.mT
