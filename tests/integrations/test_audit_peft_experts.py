"""LoRA on bare parameters, against PEFT: stacked experts one by one, routers, and files that PEFT 0.18 wrote."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

peft = pytest.importorskip("peft")
pytest.importorskip("transformers")

from gradience.audit import audit  # noqa: E402
from gradience.errors import AdapterError  # noqa: E402
from tests.integrations.peft_adapters import (  # noqa: E402
    assert_true,
    gpt_oss,
    layers,
    mixtral,
    qwen_moe,
    rewritten,
    saved,
    seeded,
    updates,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's and transformers' own

BOTH = ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"]
CASES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "Mixtral": (mixtral, {"target_modules": [], "target_parameters": BOTH}),
    "Qwen3-MoE": (qwen_moe, {"target_modules": [], "target_parameters": BOTH}),
    "gpt-oss": (gpt_oss, {"target_modules": [], "target_parameters": BOTH}),
    "one parameter": (mixtral, {"target_modules": [], "target_parameters": BOTH[:1], "use_rslora": True}),
    "all-linear": (mixtral, {"target_modules": "all-linear"}),
    "all-linear of another": (qwen_moe, {"target_modules": "all-linear", "use_rslora": True}),
    "names of transformers v4": (mixtral, {"target_modules": ["q_proj", "w1", "w2", "w3"]}),
    "router and attention too": (mixtral, {"target_modules": ["q_proj"], "target_parameters": [*BOTH, "gate.weight"]}),
    "patterns by parameter": (
        mixtral,
        {
            "target_modules": ["q_proj"],
            "target_parameters": [*BOTH, "mlp.gate.weight"],
            "rank_pattern": {"experts.gate_up_proj": 4, "experts": 3},
            "alpha_pattern": {"experts.down_proj": 5, "gate.weight": 7, "gate": 100},
        },
    ),
}


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with seeded():
        yield


@pytest.mark.parametrize("case", CASES)
def test_each_experts_spectrum_is_that_of_its_own_update(tmp_path: Path, case: str) -> None:
    """Rows of A expert after expert, columns of B rank after rank, rank and alpha by the parameter's path."""
    make, options = CASES[case]
    folder = saved(make(), tmp_path, peft.LoraConfig(r=2, lora_alpha=6, **options))
    record = audit(folder)
    assert_true(record, updates(make(), folder))
    kinds = {module.kind for module in record.modules}
    assert "expert" in kinds
    assert ("parameter" in kinds) == ("all-linear" in case or "gate" in str(options.get("target_parameters", [])[2:]))


def test_the_experts_of_many_chunks_are_all_right(tmp_path: Path) -> None:
    """More experts than are measured together share one pair of factors."""
    experts = torch.nn.Module()
    experts.weight = torch.nn.Parameter(torch.randn(70, 5, 6))
    make = layers(experts=experts)
    folder = saved(make(), tmp_path, peft.LoraConfig(r=3, target_modules=[], target_parameters=["experts.weight"]))
    record = audit(folder)
    assert [module.name for module in record.modules[:2]] == ["experts.weight[0]", "experts.weight[1]"]
    assert_true(record, updates(make(), folder))


def test_unsloths_order_of_columns_is_read(tmp_path: Path) -> None:
    """Its note says when B's columns lie expert after expert; the update is the same."""
    folder = saved(mixtral(), tmp_path, peft.LoraConfig(r=2, target_modules=[], target_parameters=BOTH[:1]))
    truth = updates(mixtral(), folder)
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    for key in [key for key in tensors if "lora_B" in key]:
        grouped = tensors[key].reshape(-1, 2, 4).transpose(1, 2)
        tensors[key] = grouped.reshape(tensors[key].shape).contiguous()
    save_file(tensors, path)
    assert_true(audit(rewritten(folder, lora_B_layout="grouped_by_expert")), truth)


@pytest.mark.parametrize(
    "fields", [{"auto_mapping": {"unsloth_fixed": True}}, {"lora_B_layout": "mixed", "auto_mapping": None}]
)
def test_unsloths_order_of_columns_is_never_guessed(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Older files do not say, and half of all guesses would be garbage."""
    folder = saved(mixtral(), tmp_path, peft.LoraConfig(r=2, target_modules=[], target_parameters=BOTH))
    with pytest.raises(AdapterError, match=r"Unsloth.*lora_B_layout"):
        audit(rewritten(folder, **fields))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"target_parameters": None}, "stacked factors of bare \\(expert\\) parameters|config gives it r=2"),
        ({"target_parameters": BOTH[:1]}, "2 parameters of .* but it names 1"),
        ({"target_parameters": ["experts.a", "experts.b"]}, "order of the parameters"),
        ({"r": 3}, "does not fit r=3"),
    ],
)
def test_experts_that_do_not_fit_their_config_are_refused(tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    """Which factor belongs to which expert is known from the config alone."""
    folder = saved(mixtral(), tmp_path, peft.LoraConfig(r=2, target_modules=[], target_parameters=BOTH))
    with pytest.raises(AdapterError, match=says) as caught:
        audit(rewritten(folder, **fields))
    assert "\n" not in str(caught.value)


class _Swapped(torch.nn.Module):
    """Experts that declare the last parameter of all known models first."""

    def __init__(self) -> None:
        super().__init__()
        self.down_proj = torch.nn.Parameter(torch.zeros(4, 6, 8))
        self.gate_up_proj = torch.nn.Parameter(torch.zeros(4, 16, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Nothing: only the parameters count."""
        return x


def test_parameters_in_an_order_of_their_own_are_not_swapped(tmp_path: Path) -> None:
    """PEFT wraps in the order of declaration, which no file tells; the shapes show that it is another."""
    options = {"target_modules": [], "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}
    folder = saved(layers(experts=_Swapped())(), tmp_path, peft.LoraConfig(r=2, **options))
    with pytest.raises(AdapterError, match="which is which is not known"):
        audit(folder)
