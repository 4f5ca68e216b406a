"""Where to multiply: the user's word, or the CPU unless the work is worth starting a GPU for."""

from typing import NamedTuple

from gradience.audit.disk.adapter import Adapter
from gradience.audit.spectra import threads
from gradience.errors import InputError

_HEAVY_FLOP = 2e11  # some seconds of each core, well above what a first CUDA context costs: 16 cores beat an H100 below


class Choice(NamedTuple):
    """The device to use, as torch calls it, and an issue that says why when it is not the one asked for."""

    device: str
    issue: str | None = None


def choose(asked: str, adapter: Adapter) -> Choice:
    """The device for `asked`: auto, cpu, cuda, cuda:N or mps.

    Raises:
        InputError: it is none of these, or this machine does not have it.
    """
    if asked == "auto":
        return Choice("cuda" if flop(adapter) > _HEAVY_FLOP * threads.cpus() and _cuda_devices() else "cpu")
    kind, _, number = asked.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdecimal()):
        raise InputError(f"cannot audit on device {asked!r}: it is not known; give auto, cpu, cuda, cuda:N or mps")
    if kind == "mps":
        return Choice("cpu", "device: mps has no float64, so the CPU was used")
    if kind == "cuda" and int(number or 0) >= _cuda_devices():
        raise InputError(f"cannot audit on device {asked!r}: torch does not see it here; give --device cpu")
    return Choice(asked if kind == "cuda" else "cpu")


def flop(adapter: Adapter) -> float:
    """Multiplications and additions in the Gram products of all factors."""
    return float(sum(2 * module.r * module.params for module in adapter.modules))


def _cuda_devices() -> int:
    import torch  # a second that only those spend who may need it

    return torch.cuda.device_count()
