"""The numbers of a draft, one pair of factors after the other: read, cut, rounded and measured as they are written."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradience.audit.compression import svd
from gradience.audit.compression.drafting import Draft, Kept, Slot
from gradience.audit.compression.record import Cut
from gradience.audit.compression.svd import Factors
from gradience.audit.disk.adapter import Adapter
from gradience.audit.disk.module import Module
from gradience.audit.refusal import listed, quoted, refuse
from gradience.audit.spectra.bench import Bench
from gradience.audit.tensors import narrowing, widening
from gradience.audit.tensors.safetensors_file import ITEM_BYTES, Tensor
from gradience.audit.tensors.safetensors_writer import Entry, SafetensorsWriter
from gradience.audit.tensors.widening import STORED


def write(
    found: Adapter, draft: Draft, folder: Path, *, dtype: str | None, progress: Callable[[int, int], object] | None
) -> list[Cut]:
    """Write the files of the draft into `folder`; what became of each module, in the order of the adapter.

    Raises:
        AdapterError: a factor is not finite, does not fit the format, or cannot be read.
    """
    for name, content in draft.files.items():
        (folder / name).write_bytes(content)
    entries = {**_entries(draft, dtype), **{one.key: _kept_entry(one) for one in draft.kept}}
    entries |= {key: Entry("F32", ()) for key in draft.alphas}
    with SafetensorsWriter(folder / draft.weights, entries, draft.metadata) as out:
        for key, alpha in draft.alphas.items():
            out.put(key, np.float32(alpha).tobytes())
        for one in draft.kept:
            out.put(one.key, _kept(one))
        cuts = _Press(found, out, entries, progress).cuts(draft.slots)
    return [cuts[module.name] for module in found.modules]


class _Press:
    """Cuts the updates of an adapter into a file."""

    def __init__(
        self,
        found: Adapter,
        out: SafetensorsWriter,
        entries: Mapping[str, Entry],
        progress: Callable[[int, int], object] | None,
    ) -> None:
        self._found, self._out, self._entries, self._progress = found, out, entries, progress
        self._embeddings: dict[tuple[int, int], Factors] = {}  # by their shape, for the head that is tied to one
        self._cuts: dict[str, Cut] = {}

    def cuts(self, slots: tuple[Slot, ...]) -> dict[str, Cut]:
        """What became of each module, by name."""
        bench = Bench(self._found.modules)
        try:
            for slot in sorted(slots, key=lambda slot: slot.copies):  # a copy comes after its original
                self._put(slot, list(self._factors(bench, slot)))
        finally:
            bench.close()
        return self._cuts

    def _factors(self, bench: Bench, slot: Slot) -> Iterator[Factors]:
        for module in slot.modules:
            full = _full(bench, module)
            if not np.isfinite(full.a).all() or not np.isfinite(full.b).all():
                wrong = f"NaN or infinity in {quoted(module.name)}"
                raise refuse(self._found.files.weights, wrong, "the training diverged: take an earlier checkpoint")
            rank = min(slot.rank, module.r, *full.a.shape, *full.b.shape)
            found = svd.best(full, rank)
            factors = self._mirrored(module) if slot.copies else svd.padded(found.factors, slot.rank)
            written = self._rounded(slot, factors)
            self._note(slot, module, found.values, svd.distance(full, written))
            yield written

    def _mirrored(self, module: Module) -> Factors:
        original = self._embeddings[module.out_features, module.in_features]
        return Factors(b=original.a.T, a=original.b.T)

    def _rounded(self, slot: Slot, factors: Factors) -> Factors:
        """The factors as a reader of the file will see them."""
        b = _through(factors.b, self._entries[slot.key_b].dtype)
        a = _through(factors.a, self._entries[slot.key_a].dtype)
        if not np.isfinite(a).all() or not np.isfinite(b).all():
            wrong = f"the update of {quoted(slot.modules[0].name)} is too large for {self._entries[slot.key_b].dtype}"
            raise refuse(self._found.files.weights, wrong, "ask for another format: --dtype float32")
        return Factors(b, a)

    def _note(self, slot: Slot, module: Module, values: NDArray[Any], error: float) -> None:
        width = module.in_features + module.out_features
        self._cuts[module.name] = Cut(
            name=module.name,
            r=module.r,
            rank=slot.rank,
            params=module.params,
            params_left=0 if module.is_copy else slot.rank * width,
            norm=math.hypot(*values),
            error=error,
            least=math.hypot(*values[slot.rank :]),
        )
        if self._progress is not None:
            self._progress(len(self._cuts), len(self._found.modules))

    def _put(self, slot: Slot, found: list[Factors]) -> None:
        first, experts = slot.modules[0], len(found)
        if first.kind == "embedding":
            self._embeddings[first.in_features, first.out_features] = found[0]
        a = np.concatenate([factors.a for factors in found])
        b = np.empty((first.out_features, experts * slot.rank))
        for place, factors in enumerate(found):
            b[:, _columns(first, place, experts, slot.rank)] = factors.b
        for key, values in ((slot.key_a, a), (slot.key_b, b)):
            stored = values.T if first.products[0].transposed else values
            self._out.put(key, narrowing.narrow(stored, self._entries[key].dtype).tobytes())


def _full(bench: Bench, module: Module) -> Factors:
    """The module's whole update: the scale goes into B."""
    inputs = bench.inputs(module)
    a = np.ldexp(inputs.values, inputs.exponent)  # a copy: the next call takes the memory back
    outputs = bench.outputs(module)
    return Factors(b=np.ldexp(outputs.values.T, outputs.exponent) * module.scale, a=a)


def _columns(module: Module, place: int, experts: int, rank: int) -> slice:
    """Those of an expert in B: rank after rank, or expert after expert, as they lay before."""
    before = module.products[0].columns
    if before is None or (before.step or 1) > 1 or experts == 1:
        return slice(place, None, experts)
    return slice(place * rank, (place + 1) * rank)


def _through(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    out = np.empty(values.shape)
    widening.widen(narrowing.narrow(values, dtype), dtype, out)
    return out


def _entries(draft: Draft, dtype: str | None) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for slot in draft.slots:
        first, rank = slot.modules[0], slot.rank * len(slot.modules)
        product = first.products[0]
        form = dtype or _narrowable(product.a, product.b)
        shape_a, shape_b = (rank, *product.a.shape[1:]), (product.b.shape[0], rank, *product.b.shape[2:])
        if product.transposed:
            shape_a, shape_b = (product.a.shape[0], rank), (rank, product.b.shape[1])
        entries |= {slot.key_a: Entry(form, shape_a), slot.key_b: Entry(form, shape_b)}
    return entries


def _narrowable(*factors: Tensor) -> str:
    """The wider of the formats that the factors have; 8 bits are too few for what an SVD gives."""
    known = [tensor.dtype for tensor in factors if tensor.dtype in narrowing.FORMATS]
    wide = max(known, key=ITEM_BYTES.__getitem__, default="BF16")
    return "F32" if {"F16", "BF16"} <= set(known) else wide


def _kept_entry(one: Kept) -> Entry:
    if one.tensor.dtype not in ITEM_BYTES:
        wrong = f"{listed([one.tensor.key])} has the format {quoted(one.tensor.dtype)}, which is not known"
        raise refuse(one.tensor.file, wrong, "save the adapter again, in float32, float16 or bfloat16")
    return Entry(one.tensor.dtype if one.times == 1.0 else _narrowable(one.tensor), one.tensor.shape)


def _kept(one: Kept) -> bytes:
    raw = _raw(one.tensor)
    if one.times == 1.0:
        return raw
    values = np.frombuffer(raw, STORED[one.tensor.dtype]).reshape(1, -1)
    wide = np.empty(values.shape)
    widening.widen(values, one.tensor.dtype, wide)
    form = _kept_entry(one).dtype
    if not np.isfinite(_through(wide * one.times, form)).all():
        wrong = f"{quoted(one.key)} times its scale {one.times:g} is not finite in {form}"
        raise refuse(one.tensor.file, wrong, "save the adapter again, in float32")
    return narrowing.narrow(wide * one.times, form).tobytes()


def _raw(tensor: Tensor) -> bytes:
    try:
        with tensor.file.open("rb") as file:
            file.seek(tensor.offset)
            raw = file.read(tensor.nbytes)
    except OSError as error:
        raise refuse(tensor.file, f"it cannot be read ({error.strerror})", "check its permissions") from error
    if len(raw) < tensor.nbytes:
        raise refuse(tensor.file, "it was cut short while it was read", "compress it when nothing writes to it")
    if not tensor.by_columns:
        return raw
    columns = np.frombuffer(raw, f"V{ITEM_BYTES[tensor.dtype]}").reshape(tensor.shape[::-1])
    rows: bytes = columns.T.tobytes()
    return rows
