"""The measuring of a whole adapter: modules stream from the file through a few workers, each with one thread."""

import math
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Protocol

import numpy as np

from gradience.audit.disk.adapter import Adapter
from gradience.audit.disk.module import Module
from gradience.audit.refusal import listed, quoted, refuse
from gradience.audit.spectra import balance, blas, spectrum, threads
from gradience.audit.spectra import device as devices
from gradience.audit.spectra.bench import Bench, Wide
from gradience.audit.spectra.measured import Balance, Measured, Spectrum
from gradience.audit.spectra.spectrum import Array
from gradience.errors import NonfiniteError

_WORKERS = 8  # reading the file limits more of them
_WORK_FLOP = 4e9  # a twentieth of a second of one core: less does not pay for a second worker
_CHUNK_BYTES = 4 << 20  # of Grams solved together; the gain of a batch ends well below
_RANK = 256  # up to which a rank may be larger than the layer that it is for
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
        NonfiniteError: a factor is not finite.
        AdapterError: the file changed under the reader.
        InputError: the device is not there.
    """
    check_ranks(adapter)
    choice = devices.choose(device, adapter)
    found: dict[str, Spectrum | None] = {}
    with blas.one_thread(), _Pool(adapter, choice.device, exact=exact) as pool:
        for chunk in pool.results(adapter.modules):
            found.update(chunk)
            if progress is not None:
                progress(len(found), len(adapter.modules))
    spectra = [found[module.name] for module in adapter.modules]
    _check_finite(adapter, spectra)
    return Measured(spectra=tuple(filter(None, spectra)), issues=(choice.issue,) if choice.issue else ())


def check_ranks(adapter: Adapter) -> None:
    """A Gram has r x r numbers: two thin factors of a few kilobytes must not ask for gigabytes.

    Raises:
        AdapterError: a rank is far beyond its layer.
    """
    for module in adapter.modules:
        if module.r > max(_RANK, min(module.in_features, module.out_features)):
            shape = f"{module.out_features} x {module.in_features}"
            wrong = f"{quoted(module.name)} has rank {module.r}, but the layer is {shape}"
            raise refuse(adapter.files.weights, wrong, "check that these are the factors of a LoRA adapter")


def is_finite(values: Array) -> bool:
    """A sum of finite numbers of this size does not overflow, and one NaN or infinity spoils it."""
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(values.sum()))


class _Products(Protocol):
    """Where the long sides of factors are multiplied away."""

    def grams(self, factors: Iterable[Array]) -> Array:
        """The Gram (n, r, r) of each of some factors (r, width); each is done with before the next is asked for."""

    def triangle(self, columns: Array) -> Array:
        """As `spectrum.triangle`."""


class _Host:
    def grams(self, factors: Iterable[Array]) -> Array:
        return np.stack([spectrum.gram(factor) for factor in factors])

    def triangle(self, columns: Array) -> Array:
        return spectrum.triangle(columns)


class _Pool:
    """A few threads over chunks of modules; each takes a free bench."""

    def __init__(self, adapter: Adapter, device: str, *, exact: bool) -> None:
        self._products = _products(device)
        self._solve = _solve_exactly if exact else _solve
        self._benches: queue.SimpleQueue[Bench] = queue.SimpleQueue()
        self._count = _workers(adapter)
        for _ in range(self._count):
            self._benches.put(Bench(adapter.modules))
        self._threads = ThreadPoolExecutor(self._count, "gradience-audit")

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        for _ in range(self._count):
            self._benches.get().close()

    def results(self, modules: Iterable[Module]) -> Iterator[dict[str, Spectrum | None]]:
        """The spectra by module name, chunk after chunk; None for a module that is not finite."""
        return self._threads.map(self._work, list(_chunks(modules)))

    def _work(self, chunk: Sequence[Module]) -> dict[str, Spectrum | None]:
        bench = self._benches.get()
        try:
            solved = self._solve(self._products, bench, chunk)
            return dict(zip((module.name for module in chunk), solved, strict=True))
        finally:
            self._benches.put(bench)


def _solve(products: _Products, bench: Bench, chunk: Sequence[Module]) -> list[Spectrum | None]:
    """All modules of a chunk by the Gram method; those without a certificate again, exactly."""
    gram_a, exponents_a = _grams(products, map(bench.inputs, chunk))
    gram_b, exponents_b = _grams(products, map(bench.outputs, chunk))
    exponents = list(zip(exponents_a, exponents_b, strict=True))
    # Every entry of a factor is inside some square on the diagonals: one look finds each NaN and infinity.
    finite = np.isfinite(spectrum.trace(gram_a)) & np.isfinite(spectrum.trace(gram_b))
    gram_a, gram_b = (np.where(finite[:, None, None], gram, 0.0) for gram in (gram_a, gram_b))
    solved = spectrum.cores(gram_a, gram_b)
    rows = zip(
        chunk, exponents, finite.tolist(), solved.certified.tolist(), solved.values.tolist(), solved.floors.tolist(),
        balance.of(gram_a, gram_b, exponents), strict=True,
    )  # fmt: skip
    return [
        None
        if not sound
        else _spectrum(module, values, floor, sum(pair), "gram", shared)
        if certified
        else _exactly(products, bench, module)
        for module, pair, sound, certified, values, floor, shared in rows
    ]


def _grams(products: _Products, factors: Iterable[Wide]) -> tuple[Array, list[int]]:
    """One side of a whole chunk before the other, so that experts read the factor that they share once."""
    exponents: list[int] = []
    return products.grams(_noting(factors, exponents)), exponents


def _noting(factors: Iterable[Wide], exponents: list[int]) -> Iterator[Array]:
    for factor in factors:
        exponents.append(factor.exponent)
        yield factor.values


def _solve_exactly(products: _Products, bench: Bench, chunk: Sequence[Module]) -> list[Spectrum | None]:
    return [_exactly(products, bench, module) for module in chunk]


def _exactly(products: _Products, bench: Bench, module: Module) -> Spectrum | None:
    a = bench.inputs(module)
    right = products.triangle(a.values.T) if is_finite(a.values) else None
    b = bench.outputs(module)
    if right is None or not is_finite(b.values):
        return None
    left = products.triangle(b.values.T)
    solved = spectrum.exact(left, right)
    (shared,) = balance.of((right.T @ right)[None], (left.T @ left)[None], [(a.exponent, b.exponent)])
    return _spectrum(module, solved.values.tolist(), solved.floor, a.exponent + b.exponent, "qr", shared)


def _spectrum(
    module: Module, values: list[float], floor: float, exponent: int, method: str, shared: Balance
) -> Spectrum | None:
    factor = balance.raised(abs(module.scale), exponent)
    scaled = tuple(value * factor for value in values)
    if not all(map(math.isfinite, (scaled[0], shared.a_norm, shared.b_norm))):
        return None
    return Spectrum(values=scaled, floor=floor * factor, method=method, balance=shared if module.is_pair else None)


def _check_finite(adapter: Adapter, spectra: Sequence[Spectrum | None]) -> None:
    broken = [module.name for module, found in zip(adapter.modules, spectra, strict=True) if found is None]
    if broken:
        wrong = f"NaN or infinity in {len(broken)} of {len(spectra)} modules ({listed(broken)})"
        mend = "the training diverged: audit an earlier checkpoint"
        if adapter.initial is not None:
            mend = f"save it, or {quoted(adapter.initial.given)}, again: one is damaged"
        raise NonfiniteError(str(refuse(adapter.files.weights, wrong, mend)), tuple(broken), len(spectra))


def _chunks(modules: Iterable[Module]) -> Iterator[list[Module]]:
    """Modules of one shape, in the order of the file, so few that their Grams stay small."""
    ordered = sorted(modules, key=lambda module: (_shape(module), module.products[0].a.offset))
    for (r, _, _), group in groupby(ordered, key=_shape):
        alike = list(group)
        size = max(1, min(_CHUNK, _CHUNK_BYTES // (16 * r * r)))
        yield from (alike[start : start + size] for start in range(0, len(alike), size))


def _shape(module: Module) -> tuple[int, int, int]:
    return module.r, module.in_features, module.out_features


def _products(device: str) -> _Products:
    if device == "cpu":
        return _Host()
    from gradience.audit.spectra.gpu import Gpu  # brings torch

    return Gpu(device)


def _workers(adapter: Adapter) -> int:
    """A GPU wants as many: they read the file and widen its numbers."""
    return max(1, min(threads.cpus(), _WORKERS, int(devices.flop(adapter) / _WORK_FLOP)))
