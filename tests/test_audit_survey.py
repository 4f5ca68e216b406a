"""A whole adapter measured: against a dense SVD, with any number of workers, without traces in the caller."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from gradience.audit.disk import adapter
from gradience.audit.spectra import survey
from gradience.audit.spectra.measured import Measured
from gradience.audit.tensors import factors
from gradience.errors import AdapterError, InputError

WIDTHS = {"q": (24, 40), "k": (40, 24), "v": (4, 24)}  # v is narrower than the rank
SCALE = 2.0


def write(folder: Path, tensors: Mapping[str, torch.Tensor], *, weights: str = "adapter_model.safetensors") -> Path:
    """An adapter of rank 8 and scale 2 on disk."""
    folder.mkdir(exist_ok=True)
    fields = {"peft_type": "LORA", "r": 8, "lora_alpha": 8 * SCALE, "target_modules": list(WIDTHS)}
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    if weights.endswith(".bin"):
        torch.save(dict(tensors), folder / weights)
    else:
        save_file(dict(tensors), folder / weights)
    return folder


def drawn(dtype: torch.dtype = torch.float32, layers: int = 2) -> dict[str, torch.Tensor]:
    """Random factors for a few layers."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in range(layers):
        for name, (width_in, width_out) in WIDTHS.items():
            stem = f"base_model.model.layers.{layer}.{name}"
            fade = torch.logspace(0, -2, 8)
            tensors[f"{stem}.lora_A.weight"] = torch.randn(8, width_in, generator=generator).to(dtype)
            tensors[f"{stem}.lora_B.weight"] = (torch.randn(width_out, 8, generator=generator) * fade).to(dtype)
    return tensors


def measure(folder: Path, *, device: str = "cpu", exact: bool = False) -> Measured:
    """Load and measure."""
    return survey.measure(adapter.load(folder), device=device, exact=exact)


def dense(tensors: Mapping[str, torch.Tensor], name: str) -> list[float]:
    """The slow and obvious reference, r values."""
    a, b = (tensors[f"base_model.model.{name}.lora_{side}.weight"].double() for side in "AB")
    values: list[float] = torch.linalg.svdvals(SCALE * b @ a)[:8].tolist()
    return values + [0.0] * (8 - len(values))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_every_module_has_the_spectrum_of_its_scaled_product(tmp_path: Path, dtype: torch.dtype, exact: bool) -> None:
    """In every dtype, by both methods, within the reported floor."""
    tensors = drawn(dtype)
    loaded = adapter.load(write(tmp_path, tensors))
    measured = survey.measure(loaded, device="cpu", exact=exact)
    for module, found in zip(loaded.modules, measured.spectra, strict=True):
        truth = dense(tensors, module.name)
        assert found.values == pytest.approx(truth, rel=1e-9, abs=found.floor + 1e-13 * truth[0])
        assert found.method == ("qr" if exact or module.name.endswith("v") else "gram")


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("size", [1.0, 1e-200, 1e150])
def test_every_module_has_the_norms_of_its_factors(tmp_path: Path, size: float, exact: bool) -> None:
    """Those of A and B as they are in the file, without the scale; by both methods, however small or large."""
    tensors = {key: value * (size if "_B" in key else 1) for key, value in drawn(torch.float64).items()}
    loaded = adapter.load(write(tmp_path, tensors))
    for module, found in zip(loaded.modules, survey.measure(loaded, device="cpu", exact=exact).spectra, strict=True):
        a, b = (tensors[f"base_model.model.{module.name}.lora_{side}.weight"] for side in "AB")
        norms = [float(torch.linalg.matrix_norm(a)), float(torch.linalg.matrix_norm(b / size)) * size]
        assert found.balance is not None
        assert [found.balance.a_norm, found.balance.b_norm] == pytest.approx(norms, rel=1e-12)


@st.composite
def hard(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    """The factors of one layer: graded on both sides, deficient, zero, tiny or huge, in any dtype of a file."""
    dtype = draw(st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]))
    generator, tensors = torch.Generator().manual_seed(draw(st.integers(0, 2**32))), {}
    for name, (width_in, width_out) in WIDTHS.items():
        a, b = (torch.randn(8, width, generator=generator, dtype=torch.float64) for width in (width_in, width_out))
        a, b = (factor * torch.logspace(0, -draw(st.floats(0, 9)), 8)[:, None] for factor in (a, b))
        b[draw(st.integers(0, 8)) :] = 0
        a[0] = a[-1] if draw(st.booleans()) else a[0]
        size = draw(st.sampled_from([1.0, 1e-3, 1e-12, 1e-37, 1e30, 1e-200, 1e150]))
        limit = torch.finfo(dtype).max / 4
        for side, factor in (("A", a), ("B", b.mT * size)):
            stored = factor.clamp(-limit, limit).to(dtype).contiguous()
            tensors[f"base_model.model.{name}.lora_{side}.weight"] = stored
    return tensors


@settings(max_examples=100)
@given(tensors=hard(), exact=st.booleans())
def test_no_value_is_further_from_the_truth_than_its_floor(tensors: dict[str, torch.Tensor], exact: bool) -> None:
    """Whatever is in a file: by the method that is reported, the floor that is reported holds; the head is exact."""
    with TemporaryDirectory() as folder:
        loaded = adapter.load(write(Path(folder), tensors))
        measured = survey.measure(loaded, device="cpu", exact=exact)
    for module, found in zip(loaded.modules, measured.spectra, strict=True):
        a, b = (tensors[f"base_model.model.{module.name}.lora_{side}.weight"].double() for side in "AB")
        size = float(b.abs().max()) or 1.0  # keeps the reference's own product in range
        truth = [value * size for value in dense({**tensors, **keyed(module.name, a, b / size)}, module.name)]
        norms = float(a.norm()) * float((b / size).norm()) * size * SCALE
        for value, expected in zip(found.values, truth, strict=True):
            assert abs(value - expected) <= found.floor + 1e-14 * norms
        assert abs(found.values[0] - truth[0]) <= 1e-13 * norms
        assert found.method == "qr" if exact else found.method in ("gram", "qr")


def keyed(name: str, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
    """Factors under the keys of one module."""
    return {f"base_model.model.{name}.lora_A.weight": a, f"base_model.model.{name}.lora_B.weight": b}


def test_a_bin_file_gives_the_same_numbers(tmp_path: Path) -> None:
    """The container does not matter."""
    tensors = drawn()
    old = measure(write(tmp_path / "bin", tensors, weights="adapter_model.bin"))
    assert sorted(s.values for s in old.spectra) == sorted(
        s.values for s in measure(write(tmp_path / "st", tensors)).spectra
    )


@pytest.mark.parametrize("size", [1e-150, 1e-30, 1e30, 1e150])
def test_tiny_and_huge_factors_keep_their_shape(tmp_path: Path, size: float) -> None:
    """Float64 factors whose squares vanish or overflow are measured like any other."""
    tensors = drawn(torch.float64, layers=1)
    plain = measure(write(tmp_path / "plain", tensors)).spectra
    scaled = measure(
        write(tmp_path / "scaled", {k: v * (size if "_B" in k else 1) for k, v in tensors.items()})
    ).spectra
    for one, other in zip(plain, scaled, strict=True):
        assert [value / size for value in other.values] == pytest.approx(one.values, rel=1e-9, abs=one.floor * 2)


def test_an_untrained_adapter_is_all_zeros(tmp_path: Path) -> None:
    """B = 0: zeros by the fast method, no NaN."""
    spectra = measure(write(tmp_path, {k: v * ("_A" in k) for k, v in drawn().items()})).spectra
    assert {value for found in spectra for value in found.values} == {0.0}
    assert {found.method for found in spectra} == {"gram"}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_non_finite_factors_are_counted_and_named(
    tmp_path: Path, dtype: torch.dtype, value: float, exact: bool
) -> None:
    """No number comes out; the line says how many modules and which is first."""
    tensors = drawn(dtype)
    for layer, side in ((0, "A"), (1, "B")):
        tensors[f"base_model.model.layers.{layer}.k.lora_{side}.weight"][1, 2] = value
    with pytest.raises(AdapterError, match=r"NaN or infinity in 2 of 6 modules \(2, first 'layers.0.k'\)"):
        measure(write(tmp_path, tensors), exact=exact)


def test_a_broken_difference_blames_neither_adapter_alone(tmp_path: Path) -> None:
    """The adapter before training is read too, and may be the broken one."""
    broken = drawn()
    broken["base_model.model.layers.0.k.lora_A.weight"][1, 2] = math.nan
    before = write(tmp_path / "before", broken)
    with pytest.raises(AdapterError, match=r"in 1 of 6 modules .*; save it, or '.*before', again: one is damaged"):
        survey.measure(adapter.load(write(tmp_path / "after", drawn()), initial=before), device="cpu")


def test_factors_of_nothing_but_infinity_are_refused_without_a_warning(tmp_path: Path) -> None:
    """A warning would be a second line beside the one that says it."""
    with pytest.raises(AdapterError, match="NaN or infinity in 6 of 6 modules"):
        measure(write(tmp_path, {key: value.sign() * math.inf for key, value in drawn().items()}))


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_no_number_and_no_order(tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results come in the order of the modules however they were shared out."""
    tensors = drawn(layers=40)
    folder = write(tmp_path, tensors)
    monkeypatch.setattr(survey, "_workers", lambda *_: workers)
    names = [module.name for module in adapter.load(folder).modules]
    for name, found in zip(names, measure(folder).spectra, strict=True):
        assert found.values[0] == pytest.approx(dense(tensors, name)[0])


def test_progress_ends_with_all_modules(tmp_path: Path) -> None:
    """Called on the way with the modules done and the modules in all."""
    calls: list[tuple[int, int]] = []
    loaded = adapter.load(write(tmp_path, drawn(layers=40)))
    survey.measure(loaded, device="cpu", progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1] == (120, 120)
    assert len(calls) > 1


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:99", ""])
def test_an_unknown_device_is_an_error(tmp_path: Path, device: str) -> None:
    """The line lists what there is."""
    with pytest.raises(InputError, match="cannot audit on device"):
        measure(write(tmp_path, drawn()), device=device)


def test_a_device_without_float64_is_replaced_and_said(tmp_path: Path) -> None:
    """MPS has only float32."""
    assert measure(write(tmp_path, drawn()), device="mps").issues[0].startswith("device: ")


def test_a_file_that_shrinks_under_the_reader_is_an_error(tmp_path: Path) -> None:
    """Half a factor is never measured."""
    loaded = adapter.load(write(tmp_path, drawn()))
    with loaded.files.weights.open("r+b") as file:
        file.truncate(loaded.modules[-1].products[0].a.offset)
    with pytest.raises(AdapterError, match="cut short"):
        survey.measure(loaded, device="cpu")


def test_a_reader_uses_one_buffer(tmp_path: Path) -> None:
    """What it returns is the same memory each time: peak memory is that of the largest factor."""
    loaded = adapter.load(write(tmp_path, drawn()))
    reader = factors.Reader(1 << 16)
    places = {reader.read(module.products[0].a).ctypes.data for module in loaded.modules}
    reader.close()
    assert len(places) == 1


def test_a_rank_far_beyond_its_layer_is_refused(tmp_path: Path) -> None:
    """The Gram of two thin factors of some kilobytes would take gigabytes."""
    stem = "base_model.model.q"
    tensors = {f"{stem}.lora_A.weight": torch.ones(30_000, 1), f"{stem}.lora_B.weight": torch.ones(2, 30_000)}
    write(tmp_path, tensors)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 30_000}))
    with pytest.raises(AdapterError, match="rank 30000, but the layer is 2 x 1"):
        survey.measure(adapter.load(tmp_path))


@pytest.mark.parametrize("exact", [False, True])
def test_directions_of_very_different_make_do_not_drown_each_other(tmp_path: Path, exact: bool) -> None:
    """One large row of A and one large column of B that never meet: the floor is that of what is multiplied."""
    tensors = drawn()
    truth = spectra(survey.measure(adapter.load(write(tmp_path / "plain", tensors)), exact=exact))
    for key in tensors:
        powers = torch.tensor([2.0**100, 2.0**-100, *[1.0] * 6])
        tensors[key] = tensors[key] * (powers[:, None] if ".lora_A." in key else 1 / powers)
    found = spectra(survey.measure(adapter.load(write(tmp_path / "uneven", tensors)), exact=exact))
    assert found == pytest.approx(truth, rel=1e-9)


def spectra(measured: Measured) -> list[float]:
    """All singular values, module after module."""
    return [value for spectrum in measured.spectra for value in spectrum.values]
