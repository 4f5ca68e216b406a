"""Fixtures that more than one test module needs, and how tests are spread over processes.

`pytest` runs the suite in one process, `pytest -n auto`, as `make test` does, in several. What a test has to observe:

- The tests of one file run one after another, in one process; other files run at the same time, on the same cores. So
  a test writes below its `tmp_path` alone, takes a free port, counts only processes that it knows by its own paths,
  and bounds time only far above what it takes: where a bound tells right from wrong, let the wrong take minutes.
- A session-scoped fixture is made once in each process. What a test has to tell the whole session it adds to its
  report, as the rows of the fault matrix are: nothing else reaches the process that prints.
- A file that takes longer than a quarter of the suite is better two files.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings

from gradience.audit import aggregate
from gradience.audit.disk.adapter import Adapter
from gradience.audit.disk.folder import Files
from gradience.audit.disk.module import Module, Product
from gradience.audit.record import AdapterInfo, AuditRecord
from gradience.audit.spectra.measured import Balance, Measured, Spectrum
from gradience.audit.tensors.safetensors_file import Tensor

MakeRecord = Callable[..., AuditRecord]
SaveAdapter = Callable[..., Path]

pytest_plugins = ["tests.spread"]

# How long an example takes tells of the machine, which is busy with the other tests.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the fault matrix, if any of it ran: its rows come with the reports, from whichever process."""
    from tests.integrations.faults import table

    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    if rows := [row for report in reports for row in table.rows(getattr(report, "user_properties", ()))]:
        terminalreporter.section("fault matrix")
        for line in table.lines(rows):
            terminalreporter.write_line(line)


@pytest.fixture
def make_record() -> MakeRecord:
    """A function that makes the record of an adapter with given spectra: `make_record({"0.q_proj": [3, 1, 0.1]})`.

    Every module is 64 x 64; the factors and their files do not exist. Further keywords replace fields of `AdapterInfo`.
    """
    return _record


@pytest.fixture(scope="session")
def save_adapter() -> SaveAdapter:
    """A function that saves a LoRA adapter as PEFT does: `save_adapter(path, r=16, needed=4)`.

    Two layers of q_proj and up_proj, 32 x 32; the first `needed` directions carry nearly all of the update, none at 0.
    Further keywords go to adapter_config.json.
    """
    return _adapter


def _adapter(path: Path, *, r: int = 16, needed: int = 4, **config: Any) -> Path:
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(r + needed)
    strength = torch.tensor([1.0 if i < needed else 1e-3 * bool(needed) for i in range(r)])
    tensors = {}
    for name in [f"model.layers.{i}.{kind}" for i in range(2) for kind in ("self_attn.q_proj", "mlp.up_proj")]:
        a, b = (torch.linalg.qr(torch.randn(32, r, generator=generator))[0] for _ in "ab")
        tensors[f"base_model.model.{name}.lora_A.weight"] = a.T.contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = (b * strength).contiguous()
    path.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path / "adapter_model.safetensors", metadata={"format": "pt"})
    said = {"peft_type": "LORA", "r": r, "lora_alpha": 2 * r, "target_modules": ["q_proj", "up_proj"], **config}
    (path / "adapter_config.json").write_text(json.dumps(said), encoding="utf-8")
    return path


def _record(spectra: Mapping[str, Sequence[float]], energy_level: float = 0.95, **adapter: Any) -> AuditRecord:
    top = max(len(values) for values in spectra.values())
    info = AdapterInfo(
        peft_dir="out/adapter",
        adapter_config_path="out/adapter/adapter_config.json",
        adapter_weights_path="out/adapter/adapter_model.safetensors",
        r=top,
        lora_alpha=top,
        dtype="F32",
    )
    files = Files(given=info.peft_dir, config=Path(info.adapter_config_path), weights=Path(info.adapter_weights_path))
    modules = tuple(_module(name, len(values)) for name, values in spectra.items())
    measured = [
        Spectrum(values=tuple(map(float, values)), floor=0.0, method="qr", balance=_balance(values))
        for values in spectra.values()
    ]
    record = aggregate.record(
        Adapter(files=files, info=msgspec.structs.replace(info, **adapter), modules=modules),
        Measured(spectra=tuple(measured)),
        energy_level=energy_level,
        fingerprint=adapter.get("fingerprint", "sha256:" + "0" * 64),
    )
    return msgspec.structs.replace(record, issues=())


def _module(name: str, r: int) -> Module:
    nowhere = Path("out/adapter/adapter_model.safetensors")
    a, b = (Tensor(name, "F32", shape, 0, 256 * r, nowhere) for shape in ((r, 64), (64, r)))
    return Module(name=name, r=r, alpha=float(r), scale=1.0, products=(Product(a=a, b=b),))


def _balance(values: Sequence[float]) -> Balance:
    """A has orthonormal rows, B columns as long as the singular values."""
    return Balance(a_norm=math.sqrt(len(values)), b_norm=math.hypot(*values), imbalance=0.5)
