"""Measuring what a plan names, and remembering it."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from gradience.audit.base import cache, norms, survey
from gradience.audit.base.measured import Against, Norms
from gradience.audit.base.plan import Plan
from gradience.audit.tensors.safetensors_file import header

WEIGHTS = {f"layers.{i}.weight": torch.diag(torch.tensor([float(i + 1), 1.0])) for i in range(3)}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, not yet made."""
    monkeypatch.setenv("GRADIENCE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the matrices that were measured and not remembered, as it goes."""
    seen: list[tuple[int, ...]] = []

    def counted(stored: NDArray[Any], dtype: str) -> Norms | None:
        seen.append(stored.shape)
        return norms.norms(stored, dtype)

    monkeypatch.setattr(survey, "measured_norms", counted)
    return seen


def planned(folder: Path, tensors: dict[str, torch.Tensor] | None = None) -> Plan:
    """A model with these weights, each that of the module of its name."""
    folder.mkdir(exist_ok=True)
    if tensors is not None or not (folder / "model.safetensors").exists():
        save_file(tensors or WEIGHTS, folder / "model.safetensors")
    found = header(folder / "model.safetensors")
    return Plan(given=str(folder), weights={key.removesuffix(".weight"): one for key, one in found.items()})


def sizes(against: Against) -> dict[str, Any]:
    """The spectral norms."""
    return {module: pytest.approx(found.sigma_max) for module, found in against.norms.items()}


def test_every_weight_is_measured(tmp_path: Path) -> None:
    """With a call after each, and the number of all."""
    calls: list[tuple[int, int]] = []
    found = survey.measure(planned(tmp_path / "base"), lambda done, total: calls.append((done, total)))
    assert sizes(found) == {"layers.0": 1, "layers.1": 2, "layers.2": 3}
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_the_second_time_nothing_is_read(tmp_path: Path, measured: list[tuple[int, ...]]) -> None:
    """The numbers are the same to the last bit."""
    first = survey.measure(planned(tmp_path / "base"))
    assert len(measured) == 3
    assert survey.measure(planned(tmp_path / "base")) == first
    assert len(measured) == 3


def test_a_changed_file_is_measured_again(tmp_path: Path, measured: list[tuple[int, ...]]) -> None:
    """Even where its size, its header and its time are as before."""
    survey.measure(planned(tmp_path / "base"))
    before = (tmp_path / "base" / "model.safetensors").stat()
    plan = planned(tmp_path / "base", {key: 10 * weight for key, weight in WEIGHTS.items()})
    os.utime(tmp_path / "base" / "model.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert sizes(survey.measure(plan)) == {"layers.0": 10, "layers.1": 20, "layers.2": 30}
    assert len(measured) == 6


def test_another_model_of_the_same_shape_is_not_mistaken(tmp_path: Path) -> None:
    """Two fine-tunes have the same header, and maybe the same time."""
    survey.measure(planned(tmp_path / "one"))
    other = planned(tmp_path / "two", {key: -5 * weight for key, weight in WEIGHTS.items()})
    assert sizes(survey.measure(other)) == {"layers.0": 5, "layers.1": 10, "layers.2": 15}


def test_what_is_known_of_some_weights_is_used(tmp_path: Path, measured: list[tuple[int, ...]]) -> None:
    """Another adapter of the same base may target more of it; and an audit that was stopped goes on."""
    plan = planned(tmp_path / "base")
    survey.measure(Plan(given="", weights={"layers.1": plan.weights["layers.1"]}))
    assert sizes(survey.measure(plan)) == {"layers.0": 1, "layers.1": 2, "layers.2": 3}
    assert len(measured) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:0],
        lambda content: content[: len(content) // 2],
        lambda content: b"\xff" + content,
        lambda content: content.replace(b'"sigma_max":', b'"sigma_min":'),
        lambda content: content.replace(b'"sigma_max":', b'"sigma_max":-'),
        lambda content: content.replace(b'"identity":"', b'"identity":"x'),
    ],
)
def test_a_damaged_cache_is_no_cache(tmp_path: Path, place: Path, damage: object) -> None:
    """It is measured again, and the cache mended."""
    plan = planned(tmp_path / "base")
    good = survey.measure(plan)
    (file,) = (place / "base-norms").iterdir()
    content = file.read_bytes()
    file.write_bytes(damage(content))  # type: ignore[operator]
    assert survey.measure(plan) == good
    assert file.read_bytes() == content


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, place: Path) -> None:
    """Something else stands where its folder would be."""
    place.write_text("a file")
    assert len(survey.measure(planned(tmp_path / "base")).norms) == 3


def test_nothing_is_kept_of_a_file_that_changed_meanwhile(tmp_path: Path, place: Path) -> None:
    """Its numbers may be of either content."""
    planned(tmp_path / "base")
    shelf = cache.Shelf(tmp_path / "base" / "model.safetensors")
    planned(tmp_path / "base", {"other": torch.ones(2, 2)})
    shelf.add({"other": Norms(sigma_max=2, fro=2, error=0, steps=1)})
    assert not place.exists()


def test_weights_that_make_no_ratio_are_issues(tmp_path: Path) -> None:
    """Not finite, or zero: each by name."""
    broken = {"nan.weight": torch.full((2, 2), torch.nan), "zero.weight": torch.zeros(2, 2), **WEIGHTS}
    found = survey.measure(planned(tmp_path / "base", broken))
    assert [issue.partition(":")[0] for issue in found.issues] == ["base_not_finite", "base_zero"]
    assert "nan" not in found.norms
    assert found.norms["zero"].sigma_max == 0


def test_modules_that_share_a_weight_measure_it_once(tmp_path: Path, measured: list[tuple[int, ...]]) -> None:
    """A tied head and its embedding."""
    weight = planned(tmp_path / "base").weights["layers.2"]
    found = survey.measure(Plan(given="", weights={"lm_head": weight, "embed_tokens": weight}))
    assert sizes(found) == {"lm_head": 3, "embed_tokens": 3}
    assert len(measured) == 1
