"""What one worker owns: a reader, and a float64 scratch in which the factors of a module are put together.

A matrix that a bench returns is valid until the next call: memory does not grow with the adapter.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from gradience.audit.disk.module import Module, Product
from gradience.audit.refusal import quoted, refuse
from gradience.audit.spectra import spectrum
from gradience.audit.spectra.spectrum import Array
from gradience.audit.tensors import widening
from gradience.audit.tensors.factors import Reader
from gradience.audit.tensors.safetensors_file import Tensor
from gradience.errors import AdapterError


class Wide(msgspec.Struct):
    """A float64 matrix; the factor is `values` * 2**`exponent`."""

    values: Array
    exponent: int


class Bench:
    """Reads and widens the factors of some modules, one side of one module at a time."""

    def __init__(self, modules: Sequence[Module]) -> None:
        """Take the memory of the largest module.

        Raises:
            AdapterError: there is not as much.
        """
        sizes = [(max(module.in_features, module.out_features) * module.r, _nbytes(module)) for module in modules]
        try:
            self._reader = Reader(max(nbytes for _, nbytes in sizes))
            self._scratch = np.empty(max(numbers for numbers, _ in sizes))
        except MemoryError as error:
            raise _too_large(modules) from error

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()

    def inputs(self, module: Module) -> Wide:
        """A (r, in): the rows of every product, times its weight and diagonal."""
        values, place = self._space(module.r, module.in_features), 0
        for product in module.products:
            part = values[place : place + product.rank]
            diagonal = self._diagonal(product)
            stored = self._stored(product, product.a)
            widening.widen(stored if product.rows is None else stored[product.rows], product.a.dtype, part)
            if diagonal is not None:
                with np.errstate(all="ignore"):  # infinity: the caller refuses what is not finite, by name
                    part *= diagonal
            place += product.rank
        return _unit(module, values)

    def outputs(self, module: Module) -> Wide:
        """Bᵀ (r, out): the columns of every product's B."""
        values, place = self._space(module.out_features, module.r), 0
        for product in module.products:
            stored, part = self._stored(product, product.b), values[:, place : place + product.rank]
            widening.widen(stored if product.columns is None else stored[:, product.columns], product.b.dtype, part)
            place += product.rank
        return _unit(module, values.T)

    def _stored(self, product: Product, factor: Tensor) -> NDArray[Any]:
        stored = self._reader.read(factor)
        return stored.T if product.transposed else stored

    def _space(self, height: int, width: int) -> Array:
        return self._scratch[: height * width].reshape(height, width)

    def _diagonal(self, product: Product) -> Array | float | None:
        """What the rows of A are multiplied with, as a column; None for a plain product."""
        if product.diagonal is None:
            return product.weight if product.weight != 1.0 else None
        stored = self._reader.read(product.diagonal)
        values = np.empty(stored.shape)
        widening.widen(stored, product.diagonal.dtype, values)
        return values * product.weight


def _unit(module: Module, values: Array) -> Wide:
    if all(tensor.dtype != "F64" for tensor in module.tensors):
        return Wide(values, 0)
    exponent = spectrum.unit(values)
    if spectrum.vanishes(values):
        wrong = f"the rows of a factor of {quoted(module.name)} are of sizes that no training gives them"
        raise refuse(module.tensors[0].file, wrong, "save it again, or fetch it again")
    return Wide(values, exponent)


def _too_large(modules: Sequence[Module]) -> AdapterError:
    largest = max(modules, key=_nbytes)
    wrong = f"there is not enough memory for the factors of {quoted(largest.name)}"
    return refuse(largest.tensors[0].file, wrong, "audit it on a machine that has more")


def _nbytes(module: Module) -> int:
    return max(tensor.nbytes for tensor in module.tensors)
