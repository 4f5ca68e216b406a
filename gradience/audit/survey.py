"""The measuring of a whole adapter: modules stream from the file through a few workers, each with one thread.

One thread each, because the products are thin: on a busy machine the barriers of a threaded product cost more than
the product. The caller's own thread setting is put back.
"""

import math
import os
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby

import torch

from gradience.audit import balance, spectrum
from gradience.audit import device as devices
from gradience.audit.adapter import Adapter
from gradience.audit.bench import Bench, Wide
from gradience.audit.measured import Balance, Measured, Spectrum
from gradience.audit.module import Module
from gradience.audit.refusal import listed, quoted, refuse

_WORKERS = 8  # reading the file limits more of them
_WORK_FLOP = 4e9  # a twentieth of a second of one core: less does not pay for a second worker
_CHUNK_BYTES = 4 << 20  # of Grams solved together; the gain of a batch ends well below
_RANK = 1024  # up to which a rank may be larger than the layer that it is for
_CHUNK = 32  # modules, so that workers share evenly and progress moves


def measure(
    adapter: Adapter,
    *,
    device: str = "auto",
    exact: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Measured:
    """The spectrum of every module, in the order of `adapter.modules`.

    Raises:
        AdapterError: a factor is not finite, or the file changed under the reader.
        InputError: the device is not there.
    """
    _check_ranks(adapter)
    choice = devices.choose(device, adapter)
    found: dict[str, Spectrum | None] = {}
    with _caller_threads(), _Pool(adapter, choice.device, exact=exact) as pool:
        for chunk in pool.results(list(_chunks(adapter.modules))):
            found.update(chunk)
            if progress is not None:
                progress(len(found), len(adapter.modules))
    spectra = [found[module.name] for module in adapter.modules]
    _check_finite(adapter, spectra)
    return Measured(spectra=tuple(filter(None, spectra)), issues=(choice.issue,) if choice.issue else ())


class _Pool:
    """A few threads over chunks of modules; each takes a free bench."""

    def __init__(self, adapter: Adapter, device: torch.device, *, exact: bool) -> None:
        self._solve = _solve_exactly if exact else _solve
        self._benches: queue.SimpleQueue[Bench] = queue.SimpleQueue()
        self._count = _workers(adapter, device)
        for _ in range(self._count):
            self._benches.put(Bench(adapter.modules, device))
        self._threads = ThreadPoolExecutor(
            self._count, "gradience-audit", initializer=torch.set_num_threads, initargs=(1,)
        )

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        for _ in range(self._count):
            self._benches.get().close()

    def results(self, chunks: Sequence[Sequence[Module]]) -> Iterator[dict[str, Spectrum | None]]:
        """The spectra by module name, chunk after chunk; None for a module that is not finite."""
        return self._threads.map(self._work, chunks)

    def _work(self, chunk: Sequence[Module]) -> dict[str, Spectrum | None]:
        bench = self._benches.get()
        try:
            return dict(zip((module.name for module in chunk), self._solve(bench, chunk), strict=True))
        finally:
            self._benches.put(bench)


def _solve(bench: Bench, chunk: Sequence[Module]) -> list[Spectrum | None]:
    """All modules of a chunk by the Gram method; those without a certificate again, exactly."""
    gram_a, exponents_a = _grams(map(bench.inputs, chunk))
    gram_b, exponents_b = _grams(map(bench.outputs, chunk))
    exponents = list(zip(exponents_a, exponents_b, strict=True))
    # Every entry of a factor is inside some square on the diagonals: one look finds each NaN and infinity.
    finite = torch.isfinite(gram_a.diagonal(dim1=1, dim2=2) + gram_b.diagonal(dim1=1, dim2=2)).all(-1)
    gram_a, gram_b = (torch.where(finite[:, None, None], gram, 0.0) for gram in (gram_a, gram_b))
    solved = spectrum.cores(gram_a, gram_b)
    rows = zip(
        chunk, exponents, finite.tolist(), solved.certified.tolist(), solved.values.tolist(), solved.floors.tolist(),
        balance.of(gram_a, gram_b, exponents), strict=True,
    )  # fmt: skip
    return [
        (_spectrum(module, values, floor, sum(pair), "gram", shared) if certified else _exactly(bench, module))
        if sound
        else None
        for module, pair, sound, certified, values, floor, shared in rows
    ]


def _grams(factors: Iterable[Wide]) -> tuple[torch.Tensor, list[int]]:
    """One side of a whole chunk before the other, so that experts read the factor that they share once."""
    grams, exponents = zip(*((spectrum.gram(factor.values), factor.exponent) for factor in factors), strict=True)
    return torch.stack(grams).cpu(), list(exponents)


def _solve_exactly(bench: Bench, chunk: Sequence[Module]) -> list[Spectrum | None]:
    return [_exactly(bench, module) for module in chunk]


def _exactly(bench: Bench, module: Module) -> Spectrum | None:
    a = bench.inputs(module)
    right = spectrum.triangle(a.values.mT) if _finite(a.values) else None
    b = bench.outputs(module)
    if right is None or not _finite(b.values):
        return None
    left = spectrum.triangle(b.values.mT)
    solved = spectrum.exact(left, right)
    (shared,) = balance.of((right.mT @ right)[None], (left.mT @ left)[None], [(a.exponent, b.exponent)])
    return _spectrum(module, solved.values.tolist(), solved.floor, a.exponent + b.exponent, "qr", shared)


def _finite(values: torch.Tensor) -> bool:
    """A sum of finite numbers of this size does not overflow, and one NaN or infinity spoils it."""
    return bool(torch.isfinite(values.sum()))


def _spectrum(
    module: Module, values: list[float], floor: float, exponent: int, method: str, shared: Balance
) -> Spectrum | None:
    factor = balance.raised(abs(module.scale), exponent)
    scaled = tuple(value * factor for value in values)
    if not all(map(math.isfinite, (scaled[0], shared.a_norm, shared.b_norm))):
        return None
    return Spectrum(values=scaled, floor=floor * factor, method=method, balance=shared if module.is_pair else None)


def _check_ranks(adapter: Adapter) -> None:
    """A Gram has r x r numbers: two thin factors of a few kilobytes must not ask for gigabytes."""
    for module in adapter.modules:
        if module.r > max(_RANK, min(module.in_features, module.out_features)):
            shape = f"{module.out_features} x {module.in_features}"
            wrong = f"{quoted(module.name)} has rank {module.r}, but the layer is {shape}"
            raise refuse(adapter.files.weights, wrong, "check that these are the factors of a LoRA adapter")


def _check_finite(adapter: Adapter, spectra: Sequence[Spectrum | None]) -> None:
    broken = [module.name for module, found in zip(adapter.modules, spectra, strict=True) if found is None]
    if broken:
        wrong = f"NaN or infinity in {len(broken)} of {len(spectra)} modules ({listed(broken)})"
        raise refuse(adapter.files.weights, wrong, "the training diverged: audit an earlier checkpoint")


def _chunks(modules: Iterable[Module]) -> Iterator[list[Module]]:
    """Modules of one rank, in the order of the file, so few that their Grams stay small."""
    ordered = sorted(modules, key=lambda module: (module.r, module.products[0].a.offset))
    for r, group in groupby(ordered, key=lambda module: module.r):
        same = list(group)
        size = max(1, min(_CHUNK, _CHUNK_BYTES // (16 * r * r)))
        yield from (same[start : start + size] for start in range(0, len(same), size))


def _workers(adapter: Adapter, device: torch.device) -> int:
    if device.type != "cpu":
        return 1
    return max(1, min(_cpus(), _WORKERS, int(devices.flop(adapter) / _WORK_FLOP)))


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _caller_threads() -> Iterator[None]:
    """Workers set one thread for themselves, which torch also makes the default of new threads: put it back."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
