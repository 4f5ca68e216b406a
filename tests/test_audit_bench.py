"""Modules put together from stored tensors: slices, diagonals and stacks, against the plain formula."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gradience.audit.disk.module import Module, Product
from gradience.audit.spectra.bench import Bench, Wide
from gradience.audit.tensors import safetensors_file
from gradience.errors import AdapterError


def stored(folder: Path, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Random tensors in `a.safetensors`."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (6, 5), "b": (7, 6), "e": (6, 1), "conv_a": (6, 2, 3), "conv_b": (4, 6, 1)}
    tensors = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    save_file(tensors, folder / "a.safetensors")
    return tensors


def update(*products: Product, r: int) -> torch.Tensor:
    """B @ A as a bench puts them together."""
    module = Module(name="m", r=r, alpha=1, scale=1, products=products)
    bench = Bench([module])
    a = _whole(bench.inputs(module))
    b = _whole(bench.outputs(module))
    bench.close()
    assert (b.shape[1], a.shape[1]) == (module.out_features, module.in_features)
    return b.mT @ a


def _whole(wide: Wide) -> torch.Tensor:
    return torch.ldexp(torch.from_numpy(wide.values), torch.tensor(wide.exponent))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_plain_pair_is_its_product(tmp_path: Path, dtype: torch.dtype) -> None:
    """In every width of numbers."""
    tensors, places = stored(tmp_path, dtype), safetensors_file.header(tmp_path / "a.safetensors")
    found = update(Product(a=places["a"], b=places["b"]), r=6)
    torch.testing.assert_close(found, tensors["b"].double() @ tensors["a"].double(), rtol=1e-12, atol=1e-12)


def test_a_convolution_is_flattened(tmp_path: Path) -> None:
    """Everything after the first dimension is the second."""
    tensors, places = stored(tmp_path), safetensors_file.header(tmp_path / "a.safetensors")
    found = update(Product(a=places["conv_a"], b=places["conv_b"]), r=6)
    truth = tensors["conv_b"].double().flatten(1) @ tensors["conv_a"].double().flatten(1)
    torch.testing.assert_close(found, truth)


def test_products_may_take_a_share_of_the_rank(tmp_path: Path) -> None:
    """Rows of A as a block, columns of B strided: the layout of stacked experts."""
    tensors, places = stored(tmp_path), safetensors_file.header(tmp_path / "a.safetensors")
    share = Product(a=places["a"], b=places["b"], rows=slice(2, 4), columns=slice(1, None, 3))
    truth = tensors["b"].double()[:, 1::3] @ tensors["a"].double()[2:4]
    torch.testing.assert_close(update(share, r=2), truth)


def test_a_diagonal_and_weights_are_part_of_the_update(tmp_path: Path) -> None:
    """A stack of products is their weighted sum, each with its diagonal."""
    tensors, places = stored(tmp_path), safetensors_file.header(tmp_path / "a.safetensors")
    scaled = Product(a=places["a"], b=places["b"], diagonal=places["e"], weight=2)
    less = Product(a=places["a"], b=places["b"], weight=-1)
    a, b, e = (tensors[name].double() for name in "abe")
    torch.testing.assert_close(update(scaled, less, r=12), 2 * b @ (a * e) - b @ a)


def test_a_diagonal_that_overflows_gives_infinity_and_no_warning(tmp_path: Path) -> None:
    """What is not finite is refused by name later."""
    large = {name: torch.full(shape, 1e200, dtype=torch.float64) for name, shape in (("a", (1, 2)), ("e", (1, 1)))}
    save_file(large, tmp_path / "a.safetensors")
    places = safetensors_file.header(tmp_path / "a.safetensors")
    product = Product(a=places["a"], b=places["a"], diagonal=places["e"])
    module = Module(name="m", r=1, alpha=1, scale=1, products=(product,))
    bench = Bench([module])
    assert not np.isfinite(bench.inputs(module).values).any()
    bench.close()


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_rows_whose_squares_would_vanish_are_refused(tmp_path: Path, side: str) -> None:
    """A damaged number in float64 can be 1e300 times as large as all others, which must not pass for zeros."""
    factor = torch.ones(2, 2, dtype=torch.float64)
    factor[0, 0] = 1e300
    save_file({"a": factor}, tmp_path / "a.safetensors")
    places = safetensors_file.header(tmp_path / "a.safetensors")
    module = Module(name="m", r=2, alpha=1, scale=1, products=(Product(a=places["a"], b=places["a"]),))
    with closing(Bench([module])) as bench, pytest.raises(AdapterError, match="sizes that no training gives"):
        getattr(bench, side)(module)


def test_memory_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest module is named."""
    stored(tmp_path)
    found = safetensors_file.header(tmp_path / "a.safetensors")
    module = Module(name="wide", r=6, alpha=1, scale=1, products=(Product(a=found["a"], b=found["b"]),))

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(AdapterError, match="not enough memory for the factors of 'wide'"):
        Bench([module])
