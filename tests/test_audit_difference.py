"""An adapter less the one that its training began with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gradience.audit import audit
from gradience.audit.disk import adapter, difference, folder
from gradience.errors import AdapterError

SaveAdapter = Callable[..., Path]


def update(path: Path, name: str) -> torch.Tensor:
    """Scale times B @ A of one module, dense."""
    tensors = load_file(path / "adapter_model.safetensors")
    a, b = (tensors[f"base_model.model.{name}.lora_{side}.weight"].double() for side in "AB")
    return 2 * b @ a


def test_the_spectrum_is_that_of_the_difference(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """Dense, in float64; the parameters are those of both."""
    after, before = save_adapter(tmp_path / "after", needed=16), save_adapter(tmp_path / "before", needed=4)
    for module in audit(after, initial=before).modules:
        dense = update(after, module.name) - update(before, module.name)
        values = torch.linalg.svdvals(
            dense
        ).tolist()  # dense, and by products: each rounds to a few 1e-16 of the largest
        assert module.singular_values == pytest.approx(values, rel=1e-6, abs=1e-12)
        assert (module.r, module.params) == (32, 32 * 64)


def test_an_adapter_less_itself_is_untrained(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """Exactly zero, not rounding."""
    path = save_adapter(tmp_path / "one")
    record = audit(path, initial=path)
    assert record.issues[0].startswith("untrained:")
    assert record.summary.delta_fro_norm == 0.0


@pytest.mark.parametrize("place", ["out/pissa_init", "out/checkpoint-3/pissa_init"])
def test_it_is_found_where_llama_factory_leaves_it(tmp_path: Path, save_adapter: SaveAdapter, place: str) -> None:
    """In the directory of the run, for the run's own adapter and for its checkpoints."""
    after = save_adapter(tmp_path / "out" / "checkpoint-3", init_lora_weights="pissa")
    before = save_adapter(tmp_path / place, needed=2)
    loaded = adapter.load(after)
    assert loaded.info.initial == str(before.resolve())
    assert loaded.issues[0].startswith("initial:")


def test_a_plain_adapter_looks_for_none(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """What a folder of another training holds does not matter to it."""
    after = save_adapter(tmp_path / "out")
    save_adapter(tmp_path / "out" / "pissa_init")
    assert adapter.load(after).info.initial is None


def test_where_there_is_none_both_ways_out_are_told(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """Give it, or have PEFT write the difference."""
    path = save_adapter(tmp_path / "out", init_lora_weights="olora")
    with pytest.raises(AdapterError, match=r"--initial DIR.*path_initial_model_for_weight_conversion"):
        difference.beside(folder.find(path))


def test_a_raw_copy_is_audited_with_its_beginning(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """LLaMA-Factory's backup claims a plain initialisation; alone it is refused."""
    raw = save_adapter(tmp_path / "pissa_backup", needed=16)
    with pytest.raises(AdapterError, match="PiSSA"):
        adapter.load(raw)
    assert adapter.load(raw, initial=save_adapter(tmp_path / "pissa_init")).info.initial is not None


def test_a_random_start_that_is_subtracted_is_no_issue(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """Then the difference is what was learned."""
    after = save_adapter(tmp_path / "after", init_lora_weights=False)
    before = save_adapter(tmp_path / "before", needed=2)
    assert [issue.split(":")[0] for issue in adapter.load(after).issues] == ["random_start"]
    assert [issue.split(":")[0] for issue in adapter.load(after, initial=before).issues] == ["initial"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"lora_alpha": 7}, "another rank, scale or shape"), ({"r": 8, "lora_alpha": 16}, "another rank")],
)
def test_the_beginning_of_another_training_is_refused(
    tmp_path: Path, save_adapter: SaveAdapter, fields: dict[str, Any], says: str
) -> None:
    """Its difference would mean nothing."""
    after = save_adapter(tmp_path / "after")
    before = save_adapter(tmp_path / "before", **{"r": 16, **fields})
    path = before / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(AdapterError, match=says):
        adapter.load(after, initial=before)


def test_the_beginning_is_an_adapter_of_peft(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """Another tool's has another scale rule, and never was the beginning of this training."""
    after, other = save_adapter(tmp_path / "after"), tmp_path / "other"
    other.mkdir()
    pair = {f"lora_unet_x.lora_{side}.weight": torch.ones(2, 2) for side in ("down", "up")}
    save_file(pair, other / "lora.safetensors")
    with pytest.raises(AdapterError, match="began with"):
        adapter.load(after, initial=other)


def test_what_lies_beside_another_run_is_not_taken(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """Only a checkpoint's parent is the directory of its own run."""
    after = save_adapter(tmp_path / "runs" / "mine", init_lora_weights="pissa")
    save_adapter(tmp_path / "runs" / "pissa_init")
    with pytest.raises(AdapterError, match="--initial DIR"):
        adapter.load(after)
