"""A smaller adapter from an adapter alone: each module's best update of a lower rank, and nothing else lost.

The update of a module becomes its truncated SVD (Eckart-Young), with the scale inside the factors: alpha = r. What is
no factor is kept as it is, but where it acts through the scale.
"""

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

import msgspec

from gradience.audit.compression import layouts
from gradience.audit.compression.record import Compression, Cut
from gradience.audit.disk import digest
from gradience.audit.disk.adapter import Adapter
from gradience.audit.refusal import refuse

__all__ = ["Compression", "Cut", "compress"]


def compress(
    found: Adapter,
    out: str | PathLike[str],
    ranks: Mapping[str, int],
    *,
    dtype: str | None = None,
    made_by: Mapping[str, str] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Compression:
    """Write the adapter `found` to the new directory `out`, the module of each name cut to its rank in `ranks`.

    A rank above a module's own fills up with zeros. `dtype` is that of the new factors, F32, F16 or BF16; else they
    keep theirs. `made_by` goes to the file's metadata, beside the fingerprint of the source.

    Raises:
        AdapterError: `out` is there already, the layout of the adapter's tool cannot hold such ranks, or the adapter
            changed meanwhile.
        OSError: it cannot be written; nothing is left of it then.
    """
    from gradience.audit.compression import publishing, writing  # bring numpy: only after every refusal

    draft = layouts.of(found).draft(found, ranks)
    source = digest.of(found.files)
    notes = {"gradience.source": source, **(made_by or {})}
    draft = msgspec.structs.replace(draft, metadata={**draft.metadata, **notes})
    with publishing.new(Path(out)) as folder:
        cuts = writing.write(found, draft, folder, dtype=dtype, progress=progress)
        copied, left = publishing.companions(found.files, folder) if draft.has_companions else ((), ())
        if digest.of(found.files) != source:  # what is noted would be no fingerprint of what was read
            raise refuse(found.files.given, "it changed while it was read", "compress it when nothing writes to it")
    return Compression(
        source=msgspec.structs.replace(found.info, fingerprint=source),
        out=str(out),
        cuts=tuple(cuts),
        copied=copied,
        left_behind=left,
        issues=found.issues,
    )
