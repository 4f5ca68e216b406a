"""The measuring of a base model: matrices stream from its files through a few workers, each with one thread.

Memory is that of one matrix, as it is stored, for each worker; there are fewer workers where matrices are large.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from gradience.audit.base.cache import Shelf
from gradience.audit.base.measured import Against, Norms
from gradience.audit.base.norms import norms as measured_norms
from gradience.audit.base.plan import Plan
from gradience.audit.refusal import listed, refuse
from gradience.audit.spectra import blas, threads
from gradience.audit.tensors.factors import Reader
from gradience.audit.tensors.safetensors_file import Tensor

_WORKERS = 8
_MEMORY = 1 << 30  # bytes of matrices at once; one alone may be larger


def measure(plan: Plan, progress: Callable[[int, int], object] | None = None) -> Against:
    """The norms of every matrix of the plan that has finite ones, remembered or measured now.

    Raises:
        AdapterError: a file cannot be read, or was changed while it was.
    """
    weights = list(dict.fromkeys(plan.weights.values()))
    shelves = {file: _shelf(file) for file in {weight.file for weight in weights}}
    kept = {file: shelf.read() for file, shelf in shelves.items()}
    known = {weight: kept[weight.file][weight.key] for weight in weights if weight.key in kept[weight.file]}
    missing = [weight for weight in weights if weight not in known]
    for done, (weight, measured) in enumerate(zip(missing, _measured(missing), strict=True), len(known) + 1):
        if measured is not None:
            known[weight] = measured
            shelves[weight.file].add({weight.key: measured})
        if progress is not None:
            progress(done, len(weights))
    found = {module: known[weight] for module, weight in plan.weights.items() if weight in known}
    return Against(given=plan.given, norms=found, issues=(*plan.issues, *_unusable(plan, found)))


def _shelf(file: Path) -> Shelf:
    try:
        return Shelf(file)
    except OSError as error:
        raise refuse(file, f"it cannot be read ({error.strerror})", "check its permissions") from error


def _measured(weights: Sequence[Tensor]) -> Iterator[Norms | None]:
    """In the order of `weights`."""
    if not weights:
        return
    largest = max(weight.nbytes for weight in weights)
    count = max(1, min(threads.cpus(), _WORKERS, len(weights), _MEMORY // largest))
    with blas.one_thread(), ThreadPoolExecutor(count, "gradience-base") as pool:
        yield from pool.map(_norms, weights)


def _norms(weight: Tensor) -> Norms | None:
    with closing(Reader(weight.nbytes)) as reader:
        return measured_norms(reader.read(weight), weight.dtype)


def _unusable(plan: Plan, norms: Mapping[str, Norms]) -> list[str]:
    broken = [module for module in plan.weights if module not in norms]
    zero = [module for module, found in norms.items() if not found.sigma_max]
    notes = {
        "base_not_finite": broken and f"weights of the base model are not finite ({listed(broken)})",
        "base_zero": zero and f"weights of the base model are zero ({listed(zero)})",
    }
    return [f"{code}: {note}" for code, note in notes.items() if note]
