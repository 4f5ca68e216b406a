"""What the public release does per module, in float64, after loading the whole file; written from its description.

It asks for the singular values, the Frobenius norm, the norms, and the stable rank through the norms once more, and
each question forms its Grams again: 12 Gram products, 3 eigh and 3 eigvalsh per module.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file


def audit(folder: Path) -> None:
    """Measure every module; nothing is printed or kept."""
    tensors = load_file(folder / "adapter_model.safetensors")
    scale = json.loads((folder / "adapter_config.json").read_bytes())["lora_alpha"]
    for key in [key for key in tensors if ".lora_A." in key]:
        a, b = tensors[key].double(), tensors[key.replace(".lora_A.", ".lora_B.")].double()
        values = _values(a, b)
        energies = values.square().cumsum(0)
        shares = values / (values.sum() + 1e-12)
        _ = float(torch.exp(-(shares * (shares + 1e-12).log()).sum()))
        _ = [int((energies / energies[-1] < level).sum()) + 1 for level in (0.90, 0.95, 0.99)]
        _ = _frobenius(a, b)
        for _round in range(2):
            _ = float(_frobenius(a, b).sqrt() * scale / a.shape[0]), float(_values(a, b)[0])


def _values(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Singular values through the Gram of A (eigh) and the core (eigvalsh)."""
    gram_a, gram_b = a @ a.mT, b.mT @ b
    values, vectors = torch.linalg.eigh(gram_a)
    root = values.clamp(min=0).sqrt()
    core = root[:, None] * (vectors.mT @ gram_b @ vectors) * root
    squares: torch.Tensor = torch.linalg.eigvalsh((core + core.mT) / 2)
    return squares.clamp(min=0).sqrt().flip(0)


def _frobenius(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The squared Frobenius norm of B @ A."""
    return ((a @ a.mT) * (b.mT @ b)).sum()
