"""Intruder dimensions of the modules whose updates are largest beside their weights: the weights are read once more."""

from collections.abc import Callable
from contextlib import closing

import msgspec
import numpy as np

from gradience.audit.base import intruders
from gradience.audit.base.plan import Plan
from gradience.audit.disk import config
from gradience.audit.disk.adapter import Adapter
from gradience.audit.disk.module import Module
from gradience.audit.record import AuditRecord
from gradience.audit.spectra.bench import Bench
from gradience.audit.spectra.spectrum import Array
from gradience.audit.tensors import widening
from gradience.audit.tensors.factors import Reader
from gradience.audit.tensors.safetensors_file import Tensor


def added(
    record: AuditRecord,
    found: Adapter,
    plan: Plan,
    *,
    most: int,
    progress: Callable[[int, int], object] | None,
) -> AuditRecord:
    """The record with the intruders of its `most` modules of largest update dominance ratio.

    Raises:
        AdapterError: a file cannot be read.
    """
    weighed = [module for module in record.modules if module.udr is not None and module.name in plan.weights]
    chosen = sorted(weighed, key=lambda module: -(module.udr or 0.0))[:most]
    by_name = {module.name: module for module in found.modules}
    is_turned = _stored_turned(found)
    counts: dict[str, int] = {}
    for module in chosen:
        weight = _weight(plan.weights[module.name], by_name[module.name], is_turned=is_turned)
        counts[module.name] = intruders.count(weight, _update(by_name[module.name]))
        if progress is not None:
            progress(len(counts), len(chosen))
    searched = (msgspec.structs.replace(module, intruders=counts.get(module.name)) for module in record.modules)
    return msgspec.structs.replace(record, modules=tuple(searched))


def _stored_turned(found: Adapter) -> bool:
    """Whether layers are stored (in, out), as those of GPT-2: of square weights nothing else tells."""
    return found.files.layout is None and config.fields(found.files.config).get("fan_in_fan_out") is True


def _weight(stored: Tensor, module: Module, *, is_turned: bool) -> Array:
    """The base weight as (out, in), in float64."""
    with closing(Reader(stored.nbytes)) as reader:
        raw = reader.read(stored)
        wide: Array = np.empty(raw.shape)
        widening.widen(raw, stored.dtype, wide)
    is_square = module.out_features == module.in_features
    return wide.T if len(wide) != module.out_features or (is_square and is_turned) else wide


def _update(module: Module) -> Array:
    bench = Bench([module])
    try:
        inputs = bench.inputs(module)
        a = np.ldexp(inputs.values, inputs.exponent)
        outputs = bench.outputs(module)
        b = np.ldexp(outputs.values.T, outputs.exponent)
        return np.asarray(module.scale * (b @ a))
    finally:
        bench.close()
