"""Smaller adapters of every layout, by each tool's own rule; and a folder that is there whole or not at all."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gradience.audit import audit, compression, fingerprint
from gradience.audit.compression import Compression, svd
from gradience.audit.compression.svd import Factors
from gradience.audit.disk.opening import opened
from gradience.audit.tensors import narrowing, widening
from gradience.errors import AdapterError
from tests.conftest import SaveAdapter
from tests.test_audit_foreign import FF, Q, kohya, random, saved

Tensors = dict[str, torch.Tensor]


def cut(place: Path, out: Path, ranks: int | dict[str, int], **options: Any) -> Compression:
    """The compression of the adapter at `place`."""
    with opened(place) as found:
        wanted = dict.fromkeys((module.name for module in found.modules), ranks) if isinstance(ranks, int) else ranks
        return compression.compress(found, out, wanted, **options)


def closest(update: torch.Tensor, rank: int) -> torch.Tensor:
    """The best approximation of a matrix."""
    left, sigma, right = torch.linalg.svd(update.double().flatten(1), full_matrices=False)
    approximation: torch.Tensor = (left[:, :rank] * sigma[:rank]) @ right[:rank]
    return approximation


def assert_close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """To the rounding of float32."""
    assert torch.linalg.norm(found.double().flatten(1) - wanted) <= 1e-6 * torch.linalg.norm(wanted)


def metadata(file: Path) -> dict[str, str]:
    """What its writer says beside the tensors."""
    with safe_open(file, framework="pt") as opened_file:
        return dict(opened_file.metadata() or {})


@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_no_matrix_of_the_rank_is_closer(rank: int, height: int, width: int, seed: int) -> None:
    """Against the dense SVD; the error is what was cut off, and the rows of A are orthonormal."""
    draw = np.random.default_rng(seed).standard_normal
    full = Factors(b=draw((height, 6)), a=draw((6, width)))
    k = min(rank, height, width)
    found = svd.best(full, k)
    values = np.linalg.svd(full.b @ full.a, compute_uv=False)
    off = np.linalg.norm(full.b @ full.a - found.factors.b @ found.factors.a)
    assert off == pytest.approx(np.linalg.norm(values[k:]), abs=1e-12)
    assert svd.distance(full, found.factors) == pytest.approx(off, abs=1e-12)
    np.testing.assert_allclose(found.factors.a @ found.factors.a.T, np.eye(k), atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-170, 1e170])
@pytest.mark.parametrize("off", [1.0, 1e-2, 1e-5, 1e-9, 0.0])
def test_a_distance_is_right_however_small(off: float, scale: float) -> None:
    """Also where inner products cancel, overflow or vanish; beside rounding it is what it is of the dense matrices."""
    rng = np.random.default_rng(0)
    one = Factors(rng.standard_normal((40, 6)), rng.standard_normal((6, 30)) * scale)
    other = Factors(one.b, one.a + off * scale * rng.standard_normal((6, 30)))
    expected = np.linalg.norm(one.b @ ((other.a - one.a) / scale))
    assert svd.distance(one, other) / scale == pytest.approx(expected, rel=2e-6, abs=1e-12)


@given(st.lists(st.floats(-3e38, 3e38, allow_nan=False), min_size=1, max_size=8))
def test_bfloat16_is_rounded_once_and_to_the_nearest(values: list[float]) -> None:
    """No other number of the format is closer; torch, which rounds twice, is never closer either."""
    wide = np.asarray([values])
    found = np.empty_like(wide)
    widening.widen(narrowing.narrow(wide, "BF16"), "BF16", found)
    torchs = torch.tensor(wide, dtype=torch.float64).to(torch.bfloat16).double().numpy()
    finite = np.isfinite(torchs) & np.isfinite(found)
    assert (np.abs(found - wide)[finite] <= np.abs(torchs - wide)[finite]).all()


def test_kohyas_alpha_follows_the_rank(tmp_path: Path) -> None:
    """Down times up times alpha / r, a convolution among them; notes and names are as they were."""
    source = {
        **kohya(Q, (8, 40), (30, 8), 2.0),
        **kohya(FF, (8, 40), (50, 8)),
        **kohya("lora_unet_conv_in", (8, 4, 3, 3), (32, 8, 1, 1), 4.0),
    }
    file = saved(tmp_path / "style.safetensors", source, ss_network_dim="8", ss_sd_model_name="base")
    found = cut(file, tmp_path / "small", 3)
    tensors = load_file(tmp_path / "small" / "style.safetensors")
    for name, scale in ((Q, 2 / 8), (FF, 1.0), ("lora_unet_conv_in", 4 / 8)):
        before = scale * source[f"{name}.lora_up.weight"].flatten(1) @ source[f"{name}.lora_down.weight"].flatten(1)
        up, down = (tensors[f"{name}.lora_{side}.weight"] for side in ("up", "down"))
        assert_close(float(tensors[f"{name}.alpha"]) / 3 * up.flatten(1) @ down.flatten(1), closest(before, 3))
        assert down.shape[2:] == source[f"{name}.lora_down.weight"].shape[2:]
    said = metadata(tmp_path / "small" / "style.safetensors")
    assert (said["ss_network_dim"], said["ss_sd_model_name"]) == ("3", "base")
    assert said["gradience.source"] == fingerprint(file)
    assert audit(tmp_path / "small").adapter.layout == "kohya"
    assert found.rank == 3


@pytest.mark.parametrize("with_settings", [True, False])
def test_each_component_of_diffusers_has_its_settings(tmp_path: Path, with_settings: bool) -> None:
    """The settings in the metadata name the new rank; without any, the alphas do."""
    names = ["unet.down_blocks.0.to_q", "text_encoder.layers.0.q_proj"]
    source: Tensors = {}
    for name in names:
        source |= {f"{name}.lora_A.weight": random(6, 20), f"{name}.lora_B.weight": random(18, 6)}
    parts = {"unet": {"r": 6, "lora_alpha": 3}, "text_encoder": {"r": 6, "lora_alpha": 12, "use_rslora": True}}
    flat = {f"{part}.{field}": value for part, fields in parts.items() for field, value in fields.items()}
    said = {"lora_adapter_metadata": json.dumps(flat)} if with_settings else {}
    folder = saved(tmp_path / "a" / "pytorch_lora_weights.safetensors", source, **said).parent
    scales = dict(zip(names, (0.5, 12 / math.sqrt(6)) if with_settings else (1.0, 1.0), strict=True))
    cut(folder, tmp_path / "b", 2)
    file = tmp_path / "b" / "pytorch_lora_weights.safetensors"
    tensors, new = load_file(file), json.loads(metadata(file).get("lora_adapter_metadata", "{}"))
    for name, scale in scales.items():
        component = name.partition(".")[0]
        if with_settings:
            assert (new[f"{component}.r"], new[f"{component}.lora_alpha"], new[f"{component}.use_rslora"]) == (
                2,
                2,
                False,
            )
        else:
            assert float(tensors[f"{name}.alpha"]) == 2.0
        before = scale * source[f"{name}.lora_B.weight"] @ source[f"{name}.lora_A.weight"]
        assert_close(tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"], closest(before, 2))


def mlx(folder: Path) -> Tensors:
    """An adapter of mlx-lm, of rank 4 and scale 20."""
    tensors = {
        "model.layers.0.self_attn.q_proj.lora_a": random(24, 4),
        "model.layers.0.self_attn.q_proj.lora_b": random(4, 16),
    }
    saved(folder / "adapters.safetensors", tensors)
    said = {
        "fine_tune_type": "lora",
        "model": "org/base",
        "lora_parameters": {"rank": 4, "scale": 20.0, "dropout": 0.1},
    }
    (folder / "adapter_config.json").write_text(json.dumps(said))
    return tensors


def test_the_scale_of_mlx_becomes_one(tmp_path: Path) -> None:
    """Factors stay transposed, and its other settings as they were."""
    (before,) = [20.0 * (pair["a"] @ pair["b"]).T for pair in [{k[-1]: v for k, v in mlx(tmp_path / "a").items()}]]
    cut(tmp_path / "a", tmp_path / "b", 2)
    after = {key[-1]: tensor for key, tensor in load_file(tmp_path / "b" / "adapters.safetensors").items()}
    assert_close((after["a"] @ after["b"]).T, closest(before, 2))
    said = json.loads((tmp_path / "b" / "adapter_config.json").read_text())
    assert said["lora_parameters"] == {"rank": 2, "scale": 1.0, "dropout": 0.1}
    assert audit(tmp_path / "b").modules[0].scale == 1.0


def test_a_module_of_a_lower_rank_is_filled_up_with_zeros(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """One shape for all: its update is whole."""
    folder = save_adapter(tmp_path / "a", r=4, needed=4)
    found = cut(folder, tmp_path / "b", 4)
    assert found.whole.relative_error < 1e-6
    assert found.whole.energy_kept == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("dtype", "at_most"), [("F32", 1e-6), ("F16", 1e-2), ("BF16", 1e-2)])
def test_the_error_that_is_told_is_that_of_the_file(
    tmp_path: Path, save_adapter: SaveAdapter, dtype: str, at_most: float
) -> None:
    """Rounding included, against a dense product of what is read back; below it lies what the rank costs."""
    folder = save_adapter(tmp_path / "a", r=8, needed=8)
    found = cut(folder, tmp_path / "b", 8, dtype=dtype)
    before, after = (load_file(path / "adapter_model.safetensors") for path in (folder, tmp_path / "b"))
    for told in found.cuts:
        a, b = (f"base_model.model.{told.name}.lora_{side}.weight" for side in "AB")
        wanted = 2.0 * before[b].double() @ before[a].double()
        off = torch.linalg.norm(after[b].double() @ after[a].double() - wanted)
        assert told.error == pytest.approx(float(off), rel=1e-6, abs=1e-12)
        assert told.relative_error <= at_most
        assert told.least == 0.0


def test_what_belongs_to_the_adapter_goes_along_and_what_continues_its_training_does_not(
    tmp_path: Path, save_adapter: SaveAdapter
) -> None:
    """A tokenizer, the model card and a value head are true of the smaller one too; the optimiser's state is not."""
    folder = save_adapter(tmp_path / "a")
    along = ("README.md", "tokenizer.json", "value_head.safetensors")
    for name in (*along, "optimizer.pt", "trainer_state.json", "rng_state.pth", "run.jsonl"):
        (folder / name).write_text("x")
    found = cut(folder, tmp_path / "b", 4)
    assert found.copied == along
    assert found.left_behind == ("optimizer.pt", "rng_state.pth", "run.jsonl", "trainer_state.json")
    written = {"adapter_config.json", "adapter_model.safetensors", *along}
    assert {path.name for path in (tmp_path / "b").iterdir()} == written


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_nothing_is_overwritten(tmp_path: Path, save_adapter: SaveAdapter, there: str) -> None:
    """Whatever has the name already stays as it is; a link to nowhere too."""
    folder, out = save_adapter(tmp_path / "a"), tmp_path / "b"
    if there == "folder":
        out.mkdir()
    elif there == "file":
        out.touch()
    else:
        out.symlink_to("nowhere")
    with pytest.raises(AdapterError, match="there already"):
        cut(folder, out, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_an_adapter_that_is_not_finite_leaves_nothing(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """The module is named, and the folder was never there."""
    folder = save_adapter(tmp_path / "a")
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors["base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"][0, 0] = torch.nan
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match=r"NaN or infinity in 'model.layers.1.mlp.up_proj'"):
        cut(folder, tmp_path / "b", 4)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="not run here: no SIGKILL")
def test_killed_at_any_moment_it_leaves_the_whole_or_nothing(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """Under its name there is never half an adapter; the source is as before."""
    folder = save_adapter(tmp_path / "a", r=16, needed=16)
    source = fingerprint(folder)
    script = (
        "import sys; from gradience.audit import compression; from gradience.audit.disk.opening import opened\n"
        "print('ready', flush=True)\n"
        "with opened(sys.argv[1]) as found:\n"
        "    compression.compress(found, sys.argv[2], {module.name: 4 for module in found.modules})\n"
    )
    for place in range(12):
        out = tmp_path / f"b{place}"
        process = subprocess.Popen([sys.executable, "-c", script, folder, out], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 * place)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not out.exists() or audit(out).adapter.r == 4
    assert fingerprint(folder) == source


def test_a_source_that_changes_meanwhile_is_refused(tmp_path: Path, save_adapter: SaveAdapter) -> None:
    """Its fingerprint, by which the new adapter names it, would be that of other numbers."""
    folder = save_adapter(tmp_path / "a")
    weights = folder / "adapter_model.safetensors"

    def meddle(*_: int) -> None:
        with weights.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\1")

    with opened(folder) as found, pytest.raises(AdapterError, match="it changed while it was read"):
        compression.compress(found, tmp_path / "b", {module.name: 2 for module in found.modules}, progress=meddle)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
