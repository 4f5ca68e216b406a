"""A module set against its base weight: how large the update is beside what it is added to; pure.

A module without norms has none of these measures, and neither has one whose weight is zero: nothing is divided by it.
"""

import math

import msgspec

from gradience.audit.base.measured import Against
from gradience.audit.record import ModuleAudit


def added(module: ModuleAudit, base: Against | None) -> ModuleAudit:
    """The module with every base-relative measure that `base` allows."""
    norms = base.norms.get(module.name) if base else None
    if norms is None:
        return module
    udr = _ratio(module.delta_sigma_max, norms.sigma_max)
    return msgspec.structs.replace(
        module,
        base_sigma_max=norms.sigma_max,
        base_sigma_error=norms.error,
        base_fro_norm=norms.fro,
        udr=udr,
        udr_f=_ratio(module.delta_fro_norm, norms.fro),
        sdi=math.log10(udr) if udr else None,
    )


def _ratio(update: float, weight: float) -> float | None:
    ratio = update / weight if weight else math.inf
    return ratio if math.isfinite(ratio) else None
