"""An adapter as it lies on disk: ranks, scales, shapes and what is left out. No factor is read here."""

import json
from pathlib import Path
from typing import Any

import pytest

from gradience.audit.disk import adapter
from gradience.audit.disk.adapter import Adapter
from gradience.errors import AdapterError

LLAMA = ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj", "model.layers.1.self_attn.q_proj")
SHAPES = {f"base_model.model.{name}.lora_{side}.weight": [8, 8] for name in LLAMA for side in "AB"}


def load(folder: Path, shapes: dict[str, list[int]] = SHAPES, dtype: str = "F32", **config: Any) -> Adapter:
    """Load an adapter of zeros with these shapes; r is 8 and alpha 16 unless the config says else."""
    fields = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    header, place = {}, 0
    for key, shape in shapes.items():
        size = 4 if dtype == "F32" else 1
        for width in shape:
            size *= width
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    raw = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(place))
    return adapter.load(folder)


def test_modules_have_their_rank_scale_and_widths(tmp_path: Path) -> None:
    """A is (r, in), B is (out, r); the scale is alpha / r."""
    shapes = {"base_model.model.q.lora_A.weight": [8, 4], "base_model.model.q.lora_B.weight": [6, 8]}
    (module,) = load(tmp_path, shapes).modules
    assert (module.name, module.r, module.scale) == ("q", 8, 2.0)
    assert (module.in_features, module.out_features, module.params) == (4, 6, 80)


def test_patterns_are_looked_up_one_by_one(tmp_path: Path) -> None:
    """Rank and alpha have their own first matching key, and the rank of the pattern is in the scale."""
    shapes = {**SHAPES, **{key: [4, 8] if ".lora_A." in key else [8, 4] for key in SHAPES if "mlp" in key}}
    loaded = load(tmp_path, shapes, rank_pattern={"up_proj": 4}, alpha_pattern={r"layers\.1\..*_proj": 2})
    assert [(module.r, module.alpha, module.scale) for module in loaded.modules] == [
        (8, 16, 2),
        (4, 2, 0.5),
        (8, 2, 0.25),
    ]
    assert loaded.issues == ()


def test_rank_stabilised_scale_uses_the_modules_own_rank(tmp_path: Path) -> None:
    """It is alpha / sqrt(r) with r and alpha after the patterns."""
    shapes = {**SHAPES, **{key: [4, 8] if ".lora_A." in key else [8, 4] for key in SHAPES if "mlp" in key}}
    loaded = load(tmp_path, shapes, use_rslora=True, rank_pattern={"up_proj": 4})
    assert [module.scale for module in loaded.modules] == [pytest.approx(16 / 8**0.5), 8, pytest.approx(16 / 8**0.5)]


def test_overlapping_and_idle_pattern_keys_are_issues(tmp_path: Path) -> None:
    """Order decides between overlapping keys, and a key that matches nothing is a mistake."""
    pattern = {"layers.0.self_attn.q_proj": 2, "q_proj": 32, "base_model.model.q_proj": 1}
    issues = load(tmp_path, alpha_pattern=pattern).issues
    assert [issue.split(":")[0] for issue in issues] == ["pattern_overlap", "pattern_unmatched"]


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ([16, 8], [8, 16], "config gives it r=8"),
        ([8, 64], [64, 5], "config gives it r=8"),
        ([64, 8], [8, 64], "config gives it r=8"),
        ([8, 4, 3, 3], [4, 4, 1, 1], "grouped convolution"),
        ([8, 4, 3, 3], [4, 8], "config gives it r=8"),
        ([8, 4, 3, 3], [4, 2, 2, 2], "config gives it r=8"),
        ([8, 4, 3, 3], [4, 8, 1, 1, 1], "config gives it r=8"),
        ([0], [8, 8], "gather"),
        ([64], [64], "gather"),
        ([8, 0], [8, 8], "gather"),
    ],
)
def test_shapes_that_are_not_those_of_a_linear_layer_are_refused(
    tmp_path: Path, a: list[int], b: list[int], says: str
) -> None:
    """The line names the module and its shapes."""
    shapes = {"base_model.model.m.q.lora_A.weight": a, "base_model.model.m.q.lora_B.weight": b}
    with pytest.raises(AdapterError, match=says) as caught:
        load(tmp_path, shapes)
    assert f"'m.q' has lora_A {a} and lora_B {b}" in str(caught.value)


def test_factors_of_integers_are_refused(tmp_path: Path) -> None:
    """Quantised storage is not the numbers themselves."""
    with pytest.raises(AdapterError, match="dtype 'I8'"):
        load(tmp_path, dtype="I8")


def test_a_broken_pattern_key_is_refused(tmp_path: Path) -> None:
    """PEFT raises on it too."""
    with pytest.raises(AdapterError, match=r"alpha_pattern has the key .* no regular expression"):
        load(tmp_path, alpha_pattern={"(": 1})


@pytest.mark.parametrize(
    ("extra", "config", "code"),
    [
        ({"base_model.model.score.weight": [2, 8]}, {"modules_to_save": ["score"]}, "modules_to_save"),
        ({"base_model.model.m.bias": [8]}, {"bias": "lora_only"}, "bias"),
        ({f"base_model.model.{LLAMA[0]}.lora_B.bias": [8]}, {"lora_bias": True}, "lora_bias"),
        ({"base_model.model.e.token_adapter.trainable_tokens_delta": [2, 8]}, {}, "trainable_tokens"),
        ({}, {"init_lora_weights": False}, "random_start"),
        ({}, {"lora_alpha": 0}, "zero_scale"),
    ],
)
def test_what_the_factors_leave_out_is_an_issue(
    tmp_path: Path, extra: dict[str, list[int]], config: dict[str, Any], code: str
) -> None:
    """The factors are audited, and the rest is listed after its code."""
    loaded = load(tmp_path, {**SHAPES, **extra}, **config)
    assert len(loaded.modules) == 3
    assert code in [issue.split(":")[0] for issue in loaded.issues]
    assert all(len(issue) < 256 for issue in loaded.issues)


@pytest.mark.parametrize(
    ("key", "code"),
    [("{}.lora_{}.weight", "no_prefix"), ("base_model.model.{}.lora_{}.default.weight", "adapter_name")],
)
def test_keys_that_peft_might_not_load_are_an_issue(tmp_path: Path, key: str, code: str) -> None:
    """Without the prefix, or with the adapter's name inside, PEFT may load zeros."""
    loaded = load(tmp_path, {key.format(name, side): [8, 8] for name in LLAMA for side in "AB"})
    assert [module.name for module in loaded.modules] == list(LLAMA)
    assert [issue.split(":")[0] for issue in loaded.issues] == [code]


def test_the_info_is_that_of_the_config(tmp_path: Path) -> None:
    """What a report needs to say about the adapter itself."""
    info = load(tmp_path, base_model_name_or_path="org/model", target_modules=["v_proj", "q_proj"]).info
    assert (info.r, info.lora_alpha, info.base_model, info.dtype) == (8, 16, "org/model", "F32")
    assert info.target_modules == ("q_proj", "v_proj")
    assert info.peft_dir == str(tmp_path)


def test_a_regular_expression_of_targets_is_one_target(tmp_path: Path) -> None:
    """PEFT takes a string as an expression, not as letters."""
    assert load(tmp_path, target_modules=".*q_proj").info.target_modules == (".*q_proj",)


def test_a_factor_of_holes_is_refused(tmp_path: Path) -> None:
    """Such a file takes no space, and would take gigabytes of memory and hours to hash."""
    load(tmp_path)
    size = 4 * 8 << 30
    header = {
        "q.lora_A.weight": {"dtype": "F32", "shape": [8, 1 << 30], "data_offsets": [0, size]},
        "q.lora_B.weight": {"dtype": "F32", "shape": [8, 8], "data_offsets": [size, size + 256]},
    }
    raw = json.dumps(header).encode()
    with (tmp_path / "adapter_model.safetensors").open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + size + 256)
    with pytest.raises(AdapterError, match="more numbers than those of any layer"):
        adapter.load(tmp_path)


def test_modules_come_in_natural_order(tmp_path: Path) -> None:
    """Layer 2 stands before layer 10, whatever the order in the file."""
    shapes = {f"base_model.model.layers.{layer}.q.lora_{side}.weight": [8, 8] for layer in (10, 9, 2) for side in "AB"}
    assert [module.name for module in load(tmp_path, shapes).modules] == ["layers.2.q", "layers.9.q", "layers.10.q"]


@pytest.mark.parametrize("side", ["A", "B"])
def test_experts_whose_factors_were_not_gathered_are_refused(tmp_path: Path, side: str) -> None:
    """As for a linear layer: a dimension of zero is a piece that lies elsewhere."""
    shapes = {"A": [16, 4], "B": [6, 16], side: [16, 0] if side == "A" else [0, 16]}
    stem = "base_model.model.mlp.experts"
    with pytest.raises(AdapterError, match="saved in pieces"):
        load(
            tmp_path,
            {f"{stem}.lora_{one}.weight": shape for one, shape in shapes.items()},
            target_parameters=["experts.down_proj"],
        )


def test_an_adapter_that_cannot_be_audited_alone_says_what_it_is(tmp_path: Path) -> None:
    """Its rank, step and hash are all that an evaluation needs to know."""
    with pytest.raises(AdapterError):
        load(tmp_path, init_lora_weights="pissa")
    found = adapter.identify(tmp_path)
    assert (found.r, found.init_lora_weights) == (8, "pissa")
    assert (found.fingerprint or "").startswith("blake3:")
