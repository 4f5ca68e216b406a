"""Bare parameters and stacked experts, from names and shapes alone."""

from pathlib import Path

import pytest

from gradience.audit.disk import experts
from gradience.audit.disk.config import LoraConfig
from gradience.audit.disk.module import Module
from gradience.audit.tensors.safetensors_file import Tensor
from gradience.errors import AdapterError

FILE = Path("adapter_model.safetensors")


def split(rows: int, columns: int, *, r: int, layout: str | None = None, unsloth: bool = False) -> list[Module]:
    """The modules of a parameter `m.w` whose A has this many rows, and B this many columns."""
    config = LoraConfig(peft_type="LORA", expert_layout=layout, auto_mapping={"unsloth_fixed": unsloth})
    a, b = Tensor("a", "F32", (rows, 5), 0, 0, FILE), Tensor("b", "F32", (7, columns), 0, 0, FILE)
    return list(experts.modules(FILE, config, "m.w", (a, b), r=r, alpha=6))


def test_experts_have_blocks_of_rows_and_every_nth_column() -> None:
    """The third of four experts at rank 2."""
    modules = split(8, 8, r=2)
    assert [module.name for module in modules] == ["m.w[0]", "m.w[1]", "m.w[2]", "m.w[3]"]
    (product,) = modules[2].products
    assert (product.rows, product.columns) == (slice(4, 6), slice(2, None, 4))
    assert (modules[2].r, modules[2].scale, modules[2].params, modules[2].kind) == (2, 3.0, 2 * (5 + 7), "expert")


def test_columns_lie_by_expert_where_unsloth_says_so() -> None:
    """Its word for what PEFT does is read too."""
    assert split(8, 8, r=2, layout="grouped_by_expert")[2].products[0].columns == slice(4, 6)
    assert split(8, 8, r=2, layout="rank_major", unsloth=True)[2].products[0].columns == slice(2, None, 4)


def test_a_parameter_without_experts_is_one_module() -> None:
    """Its rows are its rank."""
    (module,) = split(2, 2, r=2, unsloth=True)
    assert (module.name, module.kind, module.products[0].rows) == ("m.w", "parameter", None)


@pytest.mark.parametrize(("rows", "columns"), [(8, 4), (7, 7), (8194, 8194)])
def test_shapes_that_no_experts_have_are_refused(rows: int, columns: int) -> None:
    """Not a multiple of the rank, or more experts than any model has."""
    with pytest.raises(AdapterError, match=r"'m\.w' has lora_A .* does not fit r=2"):
        split(rows, columns, r=2)


@pytest.mark.parametrize(("layout", "unsloth"), [(None, True), ("mixed", False)])
def test_an_order_of_columns_that_is_not_known_is_refused(layout: str | None, unsloth: bool) -> None:
    """With the line to write into the config."""
    with pytest.raises(AdapterError, match='"lora_B_layout": "grouped_by_expert"'):
        split(8, 8, r=2, layout=layout, unsloth=unsloth)


@pytest.mark.parametrize(
    ("version", "old"), [("0.17.1", True), ("0.18.0", True), (None, True), ("0.19.0", False), ("1.0", False)]
)
def test_the_transposed_layout_is_that_of_older_versions(version: str | None, old: bool) -> None:
    """PEFT writes its version since 0.18."""
    assert experts.is_old(LoraConfig(peft_type="LORA", peft_version=version)) == old
