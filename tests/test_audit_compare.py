import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gradience.audit.compare import compare
from gradience.errors import AdapterError, InputError

SaveAdapter = Callable[..., Path]
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def a(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """An adapter of rank 16, its scale 2."""
    return save_adapter(tmp_path / "a")


@pytest.fixture
def b(tmp_path: Path, save_adapter: SaveAdapter) -> Path:
    """Another one of rank 8, its scale 1."""
    return save_adapter(tmp_path / "b", r=8, needed=8, lora_alpha=8)


def _updates(adapter: Path) -> dict[str, torch.Tensor]:
    """Every update in full, by PEFT's rule for a plain adapter."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    tensors = load_file(adapter / WEIGHTS)
    ends = {key.removesuffix(".lora_A.weight") for key in tensors if key.endswith(".lora_A.weight")}
    return {
        end.removeprefix("base_model.model."): (config["lora_alpha"] / config["r"])
        * (tensors[f"{end}.lora_B.weight"].double() @ tensors[f"{end}.lora_A.weight"].double())
        for end in ends
    }


def _change(adapter: Path, **tensors: torch.Tensor | None) -> None:
    """Replace tensors of a file, by the end of their keys; None drops them."""
    held = load_file(adapter / WEIGHTS)
    for end, tensor in tensors.items():
        for key in [key for key in held if key.endswith(f"{end}.weight")]:
            del held[key]
            held |= {} if tensor is None else {key: tensor}
    save_file(held, adapter / WEIGHTS)


def test_numbers_are_those_of_the_whole_updates(a: Path, b: Path) -> None:
    """Scales and ranks differ; what is pooled is the block-diagonal update."""
    found = compare(a, b)
    ones, others = _updates(a), _updates(b)
    for module in found.modules:
        one, other = ones[module.name], others[module.name]
        assert (module.norm_a, module.norm_b) == pytest.approx((float(one.norm()), float(other.norm())))
        assert module.cosine == pytest.approx(float((one * other).sum() / one.norm() / other.norm()), abs=1e-6)
        assert module.distance == pytest.approx(float((one - other).norm()))
        assert module.relative_distance == pytest.approx(module.distance / module.norm_a)
    one, other = (torch.stack([held[name] for name in sorted(held)]) for held in (ones, others))
    assert found.overall.cosine == pytest.approx(float((one * other).sum() / one.norm() / other.norm()), abs=1e-6)
    assert found.overall.distance == pytest.approx(float((one - other).norm()))
    assert {kind: pooled.n_modules for kind, pooled in found.by_type.items()} == {"attn": 2, "mlp": 2}


def test_an_adapter_is_like_itself(a: Path) -> None:
    """The distance is within its own bound."""
    found = compare(a, str(a))
    assert found.overall.cosine == pytest.approx(1.0, abs=1e-12)
    assert all(one.distance <= one.distance_floor for one in found.modules)
    assert found.overall.left_overlap_mean == pytest.approx(1.0)
    assert (found.only_in_a, found.only_in_b, found.other_shapes, found.issues) == ((), (), (), ())


def test_a_sign_in_the_scale_turns_the_update_round(a: Path, tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """Alpha may be negative."""
    turned = save_adapter(tmp_path / "turned", lora_alpha=-32)
    assert compare(a, turned).overall.cosine == pytest.approx(-1.0)


def test_modules_of_one_adapter_only_are_listed(a: Path, b: Path) -> None:
    """And those of one name whose shapes disagree; neither is in any sum."""
    _change(b, **{"0.self_attn.q_proj.lora_A": None, "0.self_attn.q_proj.lora_B": None})
    _change(b, **{"1.self_attn.q_proj.lora_B": torch.ones(48, 8)})
    _change(a, **{"1.mlp.up_proj.lora_A": None, "1.mlp.up_proj.lora_B": None})
    found = compare(a, b)
    assert found.only_in_a == ("model.layers.0.self_attn.q_proj",)
    assert found.only_in_b == ("model.layers.1.mlp.up_proj",)
    (other,) = found.other_shapes
    assert (other.name, other.shape_a, other.shape_b) == ("model.layers.1.self_attn.q_proj", (32, 32), (48, 32))
    assert [one.name for one in found.modules] == ["model.layers.0.mlp.up_proj"]


def test_adapters_without_a_common_weight_are_refused(a: Path, b: Path) -> None:
    """The first names of both tell why."""
    held = {key.replace("layers", "blocks"): tensor for key, tensor in load_file(b / WEIGHTS).items()}
    save_file(held, b / WEIGHTS)
    with pytest.raises(InputError, match=r"'model\.layers\.0.* against 'model\.blocks\.0.*give adapters of one base"):
        compare(a, b)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_refused(a: Path, b: Path, value: float) -> None:
    """By the file and the module that has them."""
    _change(b, **{"1.mlp.up_proj.lora_B": torch.full((32, 8), value)})
    with pytest.raises(AdapterError, match=r"b/adapter_model.safetensors: NaN or infinity in 'model.layers.1.mlp"):
        compare(a, b)


def test_an_untrained_adapter_has_no_cosine(a: Path, tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """Its distance is the other's norm."""
    fresh = save_adapter(tmp_path / "fresh", needed=0)
    found = compare(a, fresh)
    assert (found.overall.cosine, found.overall.left_overlap_mean) == (None, None)
    assert found.overall.relative_distance == pytest.approx(1.0)
    assert compare(fresh, a).overall.relative_distance is None


def test_numbers_at_the_end_of_the_range_are_compared(a: Path, b: Path) -> None:
    """float64 factors whose squares leave it."""
    for adapter in (a, b):
        held = {
            key: tensor.double() * (1e170 if "lora_A" in key else 1e120)
            for key, tensor in load_file(adapter / WEIGHTS).items()
        }
        save_file(held, adapter / WEIGHTS)
    found = compare(a, b)
    assert found.overall.cosine == pytest.approx(-0.004, abs=1e-3)
    assert found.overall.norm_a == pytest.approx(8e290, rel=1e-4)


def test_a_scale_at_the_end_of_the_range_is_compared_or_refused(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """An alpha makes the largest numbers of all; without any warning."""
    large = save_adapter(tmp_path / "large", lora_alpha=1e300)
    found = compare(large, large)
    assert found.overall.cosine == pytest.approx(1.0)
    beyond = save_adapter(tmp_path / "beyond", r=1, needed=1, lora_alpha=1.7e308)
    with pytest.raises(AdapterError, match="too large for a number"):
        compare(beyond, large)


def test_what_an_adapter_leaves_out_is_noted(a: Path, tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """With whose note it is; and that the bases differ, where both are named."""
    one = save_adapter(tmp_path / "one", base_model_name_or_path="org/x", bias="all")
    other = save_adapter(tmp_path / "other", base_model_name_or_path="org/y")
    issues = compare(one, other).issues
    assert [issue.partition(":")[0] for issue in issues] == ["bias", "other_base"]
    assert issues[0].startswith("bias: A: trained biases")
    assert compare(a, other).issues == ()


@pytest.mark.parametrize("versions", [("0.18.1", "0.21.2"), ("0.21.2", "0.18.1"), ("0.18.1", "0.18.1")])
def test_square_experts_of_two_layouts_are_not_compared(tmp_path: Path, versions: tuple[str, str]) -> None:
    """PEFT before 0.19 stored the transpose, and the shape of a square does not tell."""
    for version, folder in zip(versions, (tmp_path / "a", tmp_path / "b"), strict=True):
        folder.mkdir()
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "peft_version": version}
        targets = {"target_modules": ["q"], "target_parameters": ["experts.down_proj"]}
        (folder / "adapter_config.json").write_text(json.dumps(config | targets))
        shapes = {"experts.lora_A": (8, 6), "experts.lora_B": (6, 8), "q.lora_A": (2, 6), "q.lora_B": (6, 2)}
        save_file(
            {f"base_model.model.{key}.weight": torch.randn(shape) for key, shape in shapes.items()}, folder / WEIGHTS
        )
    found = compare(tmp_path / "a", tmp_path / "b")
    if len(set(versions)) == 1:
        assert len(found.modules) == 5
    else:
        assert [module.name for module in found.modules] == ["q"]
        assert found.issues[-1].startswith("turned_experts: square experts are not compared")
