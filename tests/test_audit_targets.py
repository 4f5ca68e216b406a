"""Which weights a config targets."""

from pathlib import Path

import pytest

from gradience.audit.disk import targets
from gradience.audit.disk.config import LoraConfig
from gradience.audit.disk.targets import Targets
from gradience.errors import AdapterError

EXPERTS, GATE, Q = "layers.3.mlp.experts", "layers.3.mlp.gate", "layers.3.self_attn.q_proj"
BOTH = ["mlp.experts.down_proj", "experts.gate_up_proj"]
ALL_LINEAR = ["gate_up_proj", "gate.weight", "down_proj"]  # PEFT's own, for a model with stacked experts


def found(module: str, depth: int, parameters: list[str], modules: list[str] | str | None = None) -> list[str]:
    """The parameters of one module that a config targets."""
    config = LoraConfig(peft_type="LORA", target_parameters=parameters, target_modules=modules)
    return Targets(Path("adapter_config.json"), config, [module]).parameters(module, depth)


def test_the_parameter_declared_first_lies_deepest() -> None:
    """PEFT wraps the module once per parameter; the order of the targets says nothing."""
    assert found(EXPERTS, 2, BOTH) == [f"{EXPERTS}.down_proj", f"{EXPERTS}.gate_up_proj"]


@pytest.mark.parametrize(
    ("module", "parameters", "expected"),
    [
        (GATE, ["mlp.gate.weight"], [f"{GATE}.weight"]),
        (GATE, ["gate.weight", "mlp.gate.weight"], [f"{GATE}.weight"]),
        ("mlp.gate", ["mlp.gate.weight"], ["mlp.gate.weight"]),
        ("layers.3.mlp.investigate", ["gate.weight"], []),
        (GATE, ["up.weight"], []),
        (GATE, [], []),
    ],
)
def test_a_target_names_the_end_of_a_parameters_path(module: str, parameters: list[str], expected: list[str]) -> None:
    """Whole parts of it, as PEFT matches."""
    assert found(module, 1, parameters) == expected


@pytest.mark.parametrize("layers", [["q_proj"], ["self_attn.q_proj"], [Q], r".*\.(q|v)_proj"])
def test_a_targeted_layer_has_no_parameters(layers: list[str] | str) -> None:
    """However a name without its module would match."""
    assert found(Q, 1, ALL_LINEAR, layers) == []


def test_names_without_their_module_are_those_of_what_is_no_layer() -> None:
    """Experts take both, the router the one that names it."""
    assert found(EXPERTS, 2, ALL_LINEAR, ["q_proj"]) == [f"{EXPERTS}.down_proj", f"{EXPERTS}.gate_up_proj"]
    assert found(GATE, 1, ALL_LINEAR, ["q_proj"]) == [f"{GATE}.weight"]


@pytest.mark.parametrize(
    ("depth", "parameters", "modules", "says"),
    [
        (2, BOTH[:1], None, "2 parameters of .* but it names 1"),
        (1, ["gate_up_proj", "down_proj"], None, "1 parameters of .* but it names 2"),
        (2, ["experts.a", "experts.b"], None, "order"),
        (2, BOTH, "(", "no regular expression"),
    ],
)
def test_what_cannot_be_told_is_refused(depth: int, parameters: list[str], modules: str | None, says: str) -> None:
    """Which factor is whose would be a guess."""
    with pytest.raises(AdapterError, match=says):
        found(EXPERTS, depth, parameters, modules)


def test_an_expression_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """PEFT would hang on it."""
    monkeypatch.setattr(targets, "_LIMIT_S", 0.1)
    with pytest.raises(AdapterError, match="takes longer"):
        found(EXPERTS, 2, BOTH, "((.*)*)*x")
