"""The products on another device: the numbers of the host, on `cpu` in torch's hands; shapes alone on `meta`."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gradience.audit.disk import adapter
from gradience.audit.spectra import device as devices
from gradience.audit.spectra import gpu, spectrum, survey
from gradience.audit.spectra.device import Choice

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="not run here: no CUDA"))


def drawn(count: int, r: int, width: int) -> list[spectrum.Array]:
    """Some factors of one shape."""
    return list(np.random.default_rng(0).standard_normal((count, r, width)))


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("fitting", [1, 3, 100])
def test_grams_are_those_of_the_host(device: str, fitting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one stack or in several; a factor may be overwritten once the next one was asked for."""
    monkeypatch.setattr(gpu, "STACK_BYTES", fitting * 4 * 32 * 8)
    scratch = np.empty((4, 32))
    factors = drawn(7, 4, 32)

    def overwritten() -> Iterator[spectrum.Array]:
        for factor in factors:
            scratch[...] = factor
            yield scratch

    found = gpu.Gpu(device).grams(overwritten())
    np.testing.assert_allclose(found, np.stack([spectrum.gram(factor) for factor in factors]), rtol=1e-12, atol=1e-12)


def test_a_stack_stays_below_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the device at once does not grow with the adapter; one factor always fits."""
    stacks: list[int] = []

    def noting(stack: torch.Tensor) -> torch.Tensor:
        stacks.append(len(stack))
        return stack @ stack.mT

    monkeypatch.setattr(gpu, "grams", noting)
    for size in (3 * 4 * 32 * 8, 1):
        monkeypatch.setattr(gpu, "STACK_BYTES", size)
        gpu.Gpu("cpu").grams(iter(drawn(7, 4, 32)))
    assert stacks == [3, 3, 1, *[1] * 7]


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_triangle_has_the_inner_products(device: str) -> None:
    """QR is unique but for signs, which no singular value sees."""
    (columns,) = drawn(1, 32, 4)
    found = gpu.Gpu(device).triangle(columns)
    np.testing.assert_allclose(found.T @ found, columns.T @ columns, rtol=1e-12, atol=1e-12)


def test_a_stack_is_multiplied_where_it_is() -> None:
    """Nothing looks at a value on the way: the same code runs where there are none."""
    found = gpu.grams(torch.empty(3, 4, 32, dtype=torch.float64, device="meta"))
    assert (found.device.type, found.dtype, found.shape) == ("meta", torch.float64, (3, 4, 4))


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("exact", [False, True])
def test_a_whole_adapter_has_the_spectra_of_the_host(
    tmp_path: Path, device: str, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same formulas, same certificate, shapes mixed; only rounding differs."""
    folder, generator = tmp_path, torch.Generator().manual_seed(0)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16}))
    tensors = {}
    for layer in range(3):
        for name, width in (("q", 40), ("v", 4)):  # v is narrower than the rank: it needs the exact method
            stem = f"base_model.model.layers.{layer}.{name}"
            tensors[f"{stem}.lora_A.weight"] = torch.randn(8, 24, generator=generator).bfloat16()
            tensors[f"{stem}.lora_B.weight"] = torch.randn(width, 8, generator=generator).bfloat16()
    save_file(tensors, folder / "adapter_model.safetensors")
    loaded = adapter.load(folder)
    host = survey.measure(loaded, device="cpu", exact=exact)
    monkeypatch.setattr(survey, "_products", lambda _: gpu.Gpu(device))
    monkeypatch.setattr(devices, "choose", lambda *_: Choice(device))
    for one, other in zip(host.spectra, survey.measure(loaded, device=device, exact=exact).spectra, strict=True):
        assert other.values == pytest.approx(one.values, rel=1e-9, abs=one.floor)
        assert other.method == one.method
