"""Modules from pairs and config, each form by its own formula; no factor is read here."""

import json
from pathlib import Path
from typing import Any

import pytest

from gradience.audit.disk import adapter, assembly
from gradience.audit.disk.adapter import Adapter
from gradience.audit.disk.module import Module
from gradience.errors import AdapterError

ADALORA = {"peft_type": "ADALORA", "init_r": 4, "lora_alpha": 8}
SVD = {"q.lora_A": [2, 5], "q.lora_B": [6, 2], "q.lora_E": [2, 1]}
PLAIN = {"q.lora_A.weight": [4, 5], "q.lora_B.weight": [6, 4]}


def load(folder: Path, shapes: dict[str, list[int]], **config: Any) -> Adapter:
    """Load an adapter of float32 zeros with these shapes; r is 4 and alpha 8 unless the config says else."""
    fields = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **config}
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    header, place = {}, 0
    for key, shape in shapes.items():
        size = 4
        for width in shape:
            size *= width
        header[f"base_model.model.{key}"] = {"dtype": "F32", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    raw = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(place))
    return adapter.load(folder)


def facts(module: Module) -> tuple[str, str, int, int, int]:
    """What a module is, and of which shape."""
    return module.name, module.kind, module.r, module.in_features, module.out_features


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        (PLAIN, ("q", "linear", 4, 5, 6)),
        ({"e.lora_embedding_A": [4, 9], "e.lora_embedding_B": [6, 4]}, ("e", "embedding", 4, 9, 6)),
        ({"c.lora_A.weight": [4, 5, 3], "c.lora_B.weight": [6, 4, 1]}, ("c", "conv", 4, 15, 6)),
        ({"c.lora_A.weight": [4, 5, 3, 2], "c.lora_B.weight": [6, 4, 1, 1]}, ("c", "conv", 4, 30, 6)),
    ],
)
def test_each_form_has_its_kind_and_its_shape(
    tmp_path: Path, shapes: dict[str, list[int]], expected: tuple[str, str, int, int, int]
) -> None:
    """All dimensions of A after the first are the input."""
    (module,) = load(tmp_path, shapes).modules
    assert facts(module) == expected


def test_fused_attention_is_told_by_the_projection_inside_it(tmp_path: Path) -> None:
    """Both have the rank and alpha of the whole module."""
    shapes = {
        "attn.lora_A.weight": [2, 5],
        "attn.lora_B.weight": [15, 2],
        "attn.base_layer.out_proj.lora_A.weight": [2, 5],
        "attn.base_layer.out_proj.lora_B.weight": [5, 2],
    }
    loaded = load(tmp_path, shapes, rank_pattern={"attn": 2}, alpha_pattern={"attn": 3, "out_proj": 100})
    assert [facts(module)[:3] for module in loaded.modules] == [
        ("attn", "attention", 2),
        ("attn.out_proj", "attention", 2),
    ]
    assert {module.scale for module in loaded.modules} == {1.5}


def test_adalora_has_the_rank_that_pruning_left(tmp_path: Path) -> None:
    """`r` and `rank_pattern` of its config are no ranks; a module of rank 0 is a note."""
    pruned = {"k.lora_A": [0, 5], "k.lora_B": [6, 0], "k.lora_E": [0, 1]}
    pattern = {"q.lora_E": [True, False, False, True], "k.lora_E": [False] * 4}
    loaded = load(tmp_path, {**SVD, **pruned}, **ADALORA, rank_pattern=pattern)
    (module,) = loaded.modules
    assert module.r == 2
    assert module.scale == pytest.approx(2, rel=1e-5)
    assert module.products[0].diagonal is not None
    assert [issue.split(":")[0] for issue in loaded.issues] == ["adalora"]
    assert (loaded.info.peft_type, loaded.info.r) == ("ADALORA", 4)


@pytest.mark.parametrize(
    ("shapes", "config", "says"),
    [
        (SVD, {}, "AdaLoRA adapter .* config says LORA"),
        (PLAIN, ADALORA, "not every pair has a lora_E"),
        ({**SVD, "q.lora_E": [1, 2]}, ADALORA, "lora_E"),
        ({**SVD, "q.lora_B": [6, 3]}, ADALORA, "gives it r=2"),
        (SVD, {**ADALORA, "rank_pattern": {"q.lora_E": [True, False, False]}}, "rank_pattern leaves 1"),
        ({"q.lora_A": [0, 5], "q.lora_B": [6, 0], "q.lora_E": [0, 1]}, ADALORA, "pruned every module"),
        (
            {
                **PLAIN,
                "q.base_layer.out_proj.lora_A.weight": [4, 6],
                "q.base_layer.out_proj.lora_B.weight": [6, 4],
                "q.out_proj.lora_A.weight": [4, 6],
                "q.out_proj.lora_B.weight": [6, 4],
            },
            {},
            "those of the same module",
        ),
        ({"q.lora_embedding_A": [4, 5], "q.lora_embedding_B": [6, 3]}, {}, "gives it r=4"),
        ({"m.base_layer.lora_A.weight": [8, 5], "m.base_layer.lora_B.weight": [6, 8]}, {}, "bare \\(expert\\)"),
        ({**PLAIN, "q.lora_magnitude_vector": [6]}, {}, "its config says no DoRA"),
        (PLAIN, {"use_dora": True}, "no magnitudes \\('q'\\)"),
    ],
)
def test_files_that_contradict_each_other_are_refused(
    tmp_path: Path, shapes: dict[str, list[int]], config: dict[str, Any], says: str
) -> None:
    """One of the two is of another training."""
    with pytest.raises(AdapterError, match=says) as caught:
        load(tmp_path, shapes, **config)
    assert "\n" not in str(caught.value)


def test_a_head_that_repeats_an_embedding_is_its_copy(tmp_path: Path) -> None:
    """Only where the config says that they are tied."""
    shapes = {
        "e.lora_embedding_A": [4, 9],
        "e.lora_embedding_B": [5, 4],
        "lm_head.lora_A.weight": [4, 5],
        "lm_head.lora_B.weight": [9, 4],
    }
    tied = load(tmp_path, shapes, ensure_weight_tying=True)
    assert {module.name: module.params for module in tied.modules} == {"e": 56, "lm_head": 0}
    assert [module.params for module in load(tmp_path, shapes).modules] == [56, 56]


def test_a_file_of_more_experts_than_any_model_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs memory, and a small file may claim very many in many layers."""
    monkeypatch.setattr(assembly, "_MOST_EXPERTS", 11)
    shapes = {f"m{i}.lora_{side}.weight": [6, 6] for i in range(2) for side in "AB"}
    with pytest.raises(AdapterError, match="more than 11 experts"):
        load(tmp_path, shapes, r=1, target_parameters=["w"])
