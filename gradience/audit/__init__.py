"""The auditor: what an adapter's files say about the update that was learned.

Importing it imports neither torch nor numpy, and nor does a refusal that the config or the file header decides.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from typing import TYPE_CHECKING

from gradience.audit.record import ENERGY_LEVEL, AuditRecord
from gradience.errors import InputError

if TYPE_CHECKING:
    from gradience.audit.base.measured import Against
    from gradience.audit.base.plan import Plan
    from gradience.references import Fetched

__all__ = ["Progress", "audit", "fingerprint"]

Progress = Callable[[int, int], object]  # called with the modules done and the modules in all; for a base model again


def audit(
    path: "str | PathLike[str] | Fetched",
    *,
    initial: str | PathLike[str] | None = None,
    energy_level: float = ENERGY_LEVEL,
    device: str = "auto",
    exact: bool = False,
    base_model: str | PathLike[str] | None = None,
    intruders: int = 0,
    progress: Progress | None = None,
) -> AuditRecord:
    """Measure the adapter in the directory `path`, in memory that does not grow with its size.

    A string with a scheme is a reference (`hf://org/name`, `s3://...`, `runs:/ID/path`, ...), which is fetched first.

    `initial` is the adapter as it was before training, to be subtracted: one that began from a piece of the base
    weights (PiSSA and its kin) needs it. `device` is auto, cpu, cuda, cuda:N or mps; `exact` asks for the slower QR
    method for every module. `base_model` is the directory of the model that was adapted: each update is then also set
    against the weight that it is added to, and the `intruders` modules of the largest ratio are searched for directions
    that the weight did not have, some seconds for each.

    Raises:
        AdapterError: there is no adapter whose update follows from its factors, or its numbers are broken.
        InputError: an option makes no sense here, the reference cannot be fetched, or the base model not be read.
    """
    if not 0 < energy_level <= 1:
        raise InputError(f"cannot audit at energy level {energy_level}: it is a share; give a number in (0, 1]")
    from gradience.audit import aggregate
    from gradience.audit.base import plan
    from gradience.audit.disk import digest
    from gradience.audit.disk.opening import opened

    with (
        opened(path, initial=initial) as found,
        ThreadPoolExecutor(1, thread_name_prefix="gradience-digest") as pool,
    ):
        planned = None if base_model is None else plan.make(base_model, found.modules)
        digested = pool.submit(digest.of, found.files)
        from gradience.audit.spectra import survey  # brings numpy: only after every refusal

        measured = survey.measure(found, device=device, exact=exact, progress=progress)
        base = _norms(planned, progress) if planned else None
        record = aggregate.record(found, measured, energy_level=energy_level, fingerprint=digested.result(), base=base)
        if planned is None or not intruders:
            return record
        from gradience.audit.base import intrusion

        return intrusion.added(record, found, planned, most=intruders, progress=progress)


def fingerprint(path: str | PathLike[str]) -> str:
    """`blake3:<hex>` over the adapter's weights and then its config: the same adapter wherever it lies.

    Raises:
        AdapterError: the directory holds no adapter.
        InputError: the reference cannot be fetched.
    """
    from gradience.audit.disk import digest, folder
    from gradience.references import fetch

    place = fetch(path)
    with place.named():
        return digest.of(folder.find(place.folder))


def _norms(planned: "Plan", progress: Progress | None) -> "Against":
    from gradience.audit.base import survey  # brings torch: only for those who ask

    return survey.measure(planned, progress)
