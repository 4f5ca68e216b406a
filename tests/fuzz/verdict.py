"""Whether an audit tells the truth: every number of a record against the dense reference."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from gradience.audit.record import AuditRecord, ModuleAudit
from tests.fuzz.reference import Expected
from tests.fuzz.reference_foreign import plain

CLOSE = 1e-6  # of shares and ranks that are no whole numbers: what the smallest certified values may be off by
TINY = 1e-290  # below it the singular values themselves are rounded to few digits
LEVELS = {"energy_rank_90": 0.90, "energy_rank_95": 0.95, "energy_rank_99": 0.99}


def differences(record: AuditRecord, expected: Mapping[str, Expected]) -> Iterator[str]:
    """Each number that is wrong, in words."""
    yield from _not_finite("record", record)
    is_peft = record.adapter.layout is None or record.adapter.layout == "peft"
    found = {module.name if is_peft else plain(module.name): module for module in record.modules}
    if len(found) != len(record.modules) or found.keys() != expected.keys():
        yield f"modules: {sorted(found.keys() ^ expected.keys())[:3]}"
        return
    for name, module in found.items():
        yield from (f"{name[:60]}: {what}" for what in _module(module, expected[name], record.energy_level))
    yield from _pooled(record, list(expected.values()))


def _not_finite(where: str, value: Any) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{where} is {value}"
    if isinstance(value, (list, tuple)):
        for place, one in enumerate(value):
            yield from _not_finite(f"{where}[{place}]", one)
    for field in getattr(value, "__struct_fields__", ()):
        yield from _not_finite(f"{where}.{field}", getattr(value, field))
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _not_finite(f"{where}[{key!r}]", one)


def _module(module: ModuleAudit, truth: Expected, level: float) -> Iterator[str]:
    given = (module.r, module.in_features, module.out_features)
    if given != (truth.r, truth.into, truth.out):
        yield f"r, in, out are {given}, not {(truth.r, truth.into, truth.out)}"
    if not (math.isclose(module.alpha, truth.alpha) and math.isclose(module.scale, truth.scale)):
        yield f"alpha {module.alpha} and scale {module.scale}, not {truth.alpha} and {truth.scale}"
    if len(module.singular_values) != truth.r:
        yield f"{len(module.singular_values)} singular values"
    for place, (mine, sigma) in enumerate(zip(module.singular_values, truth.sigma, strict=False)):
        if not abs(mine - sigma) <= _allowed(module, sigma) + truth.error:
            yield f"singular value {place} is {mine}, not {sigma} (floor {module.sigma_floor}, {module.method})"
            return
    if not 0 < truth.sigma[0] < max(TINY, 2 * truth.error):
        yield from _measures(module, truth, level)


def _allowed(module: ModuleAudit, sigma: float) -> float:
    """The promise of `spectrum`: the floor itself by QR; floor² / 2σ, and never more than the floor, by Grams."""
    floor = module.sigma_floor
    return floor if module.method == "qr" or floor >= sigma else floor * (floor / sigma)


def _measures(module: ModuleAudit, truth: Expected, level: float) -> Iterator[str]:
    energies = _energies(truth.sigma)
    stable = math.fsum(energies)
    for name, mine, true in (
        ("delta_sigma_max", module.delta_sigma_max, truth.sigma[0]),
        ("delta_fro_norm", module.delta_fro_norm, truth.sigma[0] * math.sqrt(stable)),
        ("stable_rank", module.stable_rank, stable),
        ("utilization", module.utilization, stable / truth.r),
        ("effective_rank", module.effective_rank, _effective_rank(truth.sigma)),
    ):
        if not abs(mine - true) <= CLOSE * abs(true) + 10 * truth.error:
            yield f"{name} is {mine}, not {true}"
    for name, share in {**LEVELS, "energy_rank": level}.items():
        if not _reaches(energies, getattr(module, name), share):
            yield f"{name} is {getattr(module, name)}: {energies}"


def _energies(sigma: Sequence[float]) -> list[float]:
    return [(value / sigma[0]) ** 2 if sigma[0] else 0.0 for value in sigma]


def _effective_rank(sigma: Sequence[float]) -> float:
    if not sigma[0]:
        return 0.0
    relative = [value / sigma[0] for value in sigma]
    shares = [value / math.fsum(relative) for value in relative]
    return math.exp(-math.fsum(p * math.log(p) for p in shares if p))


def _reaches(energies: Sequence[float], k: int, share: float) -> bool:
    """Whether k is the least number of directions with this share; a tie within rounding may go either way."""
    cumulative = [0.0, *accumulate(energies)]
    least = share * cumulative[-1]
    if not least:
        return k == 0
    return 1 <= k <= len(energies) and cumulative[k] >= least * (1 - 1e-9) and cumulative[k - 1] < least * (1 + 1e-9)


def _pooled(record: AuditRecord, expected: Sequence[Expected]) -> Iterator[str]:
    params = sum(one.params for one in expected)
    if (record.summary.total_lora_params, record.summary.n_layers) != (params, len(expected)):
        yield f"{record.summary.total_lora_params} parameters in {record.summary.n_layers}, not {params}"
    largest = max(one.sigma[0] for one in expected)
    if 0 < largest < TINY:
        return
    squares = [[(value / largest) ** 2 if largest else 0.0 for value in one.sigma] for one in expected]
    total = math.fsum(math.fsum(row) for row in squares)
    for k, mine in zip(record.candidate_ranks, record.energy_kept, strict=True):
        kept = math.fsum(math.fsum(row[:k]) for row in squares) / total if total else 1.0
        if not abs(mine - kept) <= CLOSE:
            yield f"energy_kept at {k} is {mine}, not {kept}"
