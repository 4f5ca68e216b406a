"""What one worker owns: a reader, and a float64 scratch in which the factors of a module are put together.

A matrix that a bench returns is valid until the next call: memory does not grow with the adapter.
"""

from collections.abc import Iterable

import msgspec
import torch
from torch import Tensor as TorchTensor

from gradience.audit import spectrum
from gradience.audit.factors import Reader
from gradience.audit.module import Module, Product


class Wide(msgspec.Struct):
    """A float64 matrix on the device; the factor is `values` * 2**`exponent`."""

    values: TorchTensor
    exponent: int


class Bench:
    """Reads and widens the factors of some modules, one side of one module at a time."""

    def __init__(self, modules: Iterable[Module], device: torch.device) -> None:
        sizes = [(max(module.in_features, module.out_features) * module.r, _nbytes(module)) for module in modules]
        self._device = device
        self._reader = Reader(max(nbytes for _, nbytes in sizes))
        numbers = max(numbers for numbers, _ in sizes) if device.type == "cpu" else 0
        self._scratch = torch.empty(numbers, dtype=torch.float64, device="cpu")

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()

    def inputs(self, module: Module) -> Wide:
        """A (r, in): the rows of every product, times its weight and diagonal."""
        values, place = self._space(module.r, module.in_features), 0
        for product in module.products:
            part = values[place : place + product.rank]
            diagonal = self._diagonal(product)
            stored = self._reader.read(product.a)
            part.copy_((stored if product.rows is None else stored[product.rows]).to(self._device))
            if diagonal is not None:
                part.mul_(diagonal)
            place += product.rank
        return self._unit(module, values)

    def outputs(self, module: Module) -> Wide:
        """Bᵀ (r, out): the columns of every product's B."""
        values, place = self._space(module.out_features, module.r), 0
        for product in module.products:
            stored = self._reader.read(product.b)
            part = stored if product.columns is None else stored[:, product.columns]
            values[:, place : place + product.rank].copy_(part.to(self._device))
            place += product.rank
        return self._unit(module, values.mT)

    def _space(self, height: int, width: int) -> TorchTensor:
        if self._device.type == "cpu":
            return self._scratch.as_strided((height, width), (width, 1))
        return torch.empty(height, width, dtype=torch.float64, device=self._device)

    def _diagonal(self, product: Product) -> TorchTensor | None:
        """What the rows of A are multiplied with, as a column; None for a plain product."""
        if product.diagonal is not None:
            return self._reader.read(product.diagonal).to(self._device, torch.float64) * product.weight
        if product.weight != 1.0:
            return torch.tensor(product.weight, dtype=torch.float64, device=self._device)
        return None

    def _unit(self, module: Module, values: TorchTensor) -> Wide:
        narrow = all(tensor.dtype != "F64" for tensor in module.tensors)
        return Wide(values, 0 if narrow else spectrum.unit(values))


def _nbytes(module: Module) -> int:
    return max(tensor.nbytes for tensor in module.tensors)
