"""`gradience.audit.audit` from a directory to a record, and what it must not import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gradience.audit import audit, fingerprint
from gradience.errors import AdapterError, InputError

NAMES = ("self_attn.q_proj", "mlp.up_proj")


@pytest.fixture
def adapter_dir(tmp_path: Path) -> Path:
    """A checkpoint of rank 4 whose update has rank 2: σ = 2 and 1 in attention, 2 and 2 in the MLP."""
    folder = tmp_path / "checkpoint-30"
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors(), folder / "adapter_model.safetensors")
    return folder


def tensors() -> dict[str, torch.Tensor]:
    """A has orthonormal rows, B two orthogonal columns; the scale of 2 is part of σ."""
    found = {}
    for name, second in zip(NAMES, (0.5, 1.0), strict=True):
        stem = f"base_model.model.model.layers.0.{name}"
        found[f"{stem}.lora_A.weight"] = torch.eye(4, 16)
        found[f"{stem}.lora_B.weight"] = torch.diag(torch.tensor([1.0, second, 0.0, 0.0]))
    return found


def test_the_record_says_what_is_on_disk(adapter_dir: Path) -> None:
    """Spectra of scale * B @ A, ranks, summary and the adapter itself."""
    record = audit(adapter_dir)
    mlp, attention = record.modules
    assert attention.singular_values == pytest.approx((2, 1, 0, 0))
    assert (attention.module_type, mlp.module_type, mlp.layer) == ("attn", "mlp", 0)
    assert (attention.energy_rank, attention.energy_rank_90, mlp.energy_rank_99) == (2, 2, 2)
    assert record.candidate_ranks == (1, 2, 4)
    assert record.energy_kept == pytest.approx((8 / 13, 1, 1))
    assert record.summary.rank_waste == pytest.approx(0.5)
    assert (record.adapter.step, record.adapter.fingerprint) == (30, fingerprint(adapter_dir))
    assert record.issues == ()


def test_the_energy_level_sets_the_energy_rank(adapter_dir: Path) -> None:
    """At 80 % the attention module's first direction is enough."""
    record = audit(adapter_dir, energy_level=0.8)
    assert (record.energy_level, record.modules[0].energy_rank, record.modules[1].energy_rank) == (0.8, 2, 1)


@pytest.mark.parametrize("level", [0, -1, 1.1, float("nan")])
def test_a_level_that_is_no_share_is_an_error(adapter_dir: Path, level: float) -> None:
    """One line that gives the range."""
    with pytest.raises(InputError, match=r"\(0, 1\]"):
        audit(adapter_dir, energy_level=level)


def test_the_exact_method_gives_the_same_record(adapter_dir: Path) -> None:
    """Only the method and its floor differ."""
    exact, quick = audit(adapter_dir, exact=True), audit(adapter_dir)
    assert {module.method for module in exact.modules} == {"qr"}
    assert exact.summary.stable_rank_mean == pytest.approx(quick.summary.stable_rank_mean)


@pytest.mark.parametrize("part", [1.0, 0.5])
def test_modules_that_did_not_train_are_an_issue(adapter_dir: Path, part: float) -> None:
    """All of them: the adapter is untrained. Some: they are counted."""
    zeroed = {key: value * (".lora_A." in key or (part < 1 and "attn" in key)) for key, value in tensors().items()}
    save_file(zeroed, adapter_dir / "adapter_model.safetensors")
    record = audit(adapter_dir)
    assert record.issues[0].split(":")[0] == ("untrained" if part == 1 else "untrained_modules")
    assert record.modules[0].stable_rank == 0


def test_the_fingerprint_follows_the_content_only(adapter_dir: Path, tmp_path: Path) -> None:
    """Moving changes nothing; another weight or another config does."""
    before = fingerprint(adapter_dir)
    moved = adapter_dir.rename(tmp_path / "moved")
    assert fingerprint(moved) == before
    (moved / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 9}')
    assert fingerprint(moved) != before


@pytest.mark.slow
@pytest.mark.parametrize("spoil", ["config", "weights", "directory"])
def test_a_refusal_imports_neither_torch_nor_numpy(adapter_dir: Path, spoil: str) -> None:
    """What the config or the header decides is said at once."""
    if spoil == "config":
        (adapter_dir / "adapter_config.json").write_text('{"peft_type": "LOHA"}')
    if spoil == "weights":
        (adapter_dir / "adapter_model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    path = adapter_dir / "missing" if spoil == "directory" else adapter_dir
    program = (
        "import sys\nfrom gradience.audit import audit\nfrom gradience.errors import AdapterError\n"
        f"try: audit({str(path)!r})\nexcept AdapterError as error: print(error)\n"
        "print(sorted({'torch', 'numpy', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    line, modules = done.stdout.splitlines()
    assert line.startswith("cannot audit ")
    assert modules == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("container", ["safetensors", "bin"])
def test_an_audit_on_the_cpu_does_not_import_torch(adapter_dir: Path, container: str) -> None:
    """Importing torch takes many times longer than measuring most adapters."""
    if container == "bin":
        (adapter_dir / "adapter_model.safetensors").unlink()
        torch.save(tensors(), adapter_dir / "adapter_model.bin")
    program = (
        f"import sys\nfrom gradience.audit import audit\naudit({str(adapter_dir)!r})\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


def test_a_missing_directory_is_refused_by_both(tmp_path: Path) -> None:
    """Audit and fingerprint give the same line."""
    with pytest.raises(AdapterError) as first:
        audit(tmp_path / "none")
    with pytest.raises(AdapterError) as second:
        fingerprint(tmp_path / "none")
    assert str(first.value) == str(second.value)
