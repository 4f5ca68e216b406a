"""Which files of a remote folder belong to an adapter; a repository may hold a whole model beside them."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

from gradience.errors import InputError
from gradience.references.reference import Reference

CONFIG: Final = "adapter_config.json"
PROBED: Final = (CONFIG, "adapter_model.safetensors", "adapter_model.bin")  # where a folder cannot be listed
PATTERNS: Final = (  # paths within the folder; what other tools save is fetched so that it can be named
    CONFIG,
    "adapter_model*.safetensors",
    "adapter_model*.bin",
    "adapters.safetensors",
    "pytorch_lora_weights*.safetensors",
    "trainer_state.json",
    "adapter_model/adapter_*",  # where some trainers put a checkpoint's adapter
    "pissa_init/adapter_*",  # the start that a PiSSA adapter is measured from
)
MODEL_PATTERNS: Final = (  # of a base model: what `transformers` and `diffusers` call its weights
    "config.json",
    *(f"{stem}{end}" for stem in ("model", "diffusion_pytorch_model") for end in (
        ".safetensors", "-*-of-*.safetensors", ".safetensors.index.json",
    )),
)  # fmt: skip
_SHOWN: Final = 4  # names of folders in a message


def patterns(reference: Reference) -> tuple[str, ...]:
    """What the files to fetch are called, by their paths within the reference's folder."""
    return PATTERNS if reference.file is None else (reference.file,)


def chosen(paths: Iterable[str], reference: Reference) -> list[str]:
    """Those of a folder's files that the reference means, by their paths within it.

    Raises:
        InputError: there are none; the message names folders that hold an adapter.
    """
    found, shown = sorted(set(paths)), reference.shown
    if reference.file is not None:
        return _only(found, reference)
    files = [path for path in found if any(_matches(path, pattern) for pattern in PATTERNS)]
    if any(path.startswith(("adapter_", "adapters.", "pytorch_lora_weights")) for path in files):
        return files
    below = [path.removesuffix(f"/{CONFIG}") for path in found if path.endswith(f"/{CONFIG}")]
    if below:
        names = ", ".join(below[:_SHOWN]) + (", ..." if len(below) > _SHOWN else "")
        raise InputError(
            f"cannot audit {shown}: it holds adapters only in sub-directories ({names}); "
            f"give one of them: {shown.rstrip('/')}/{below[-1]}"
        )
    held = f"none of its {len(found)} files is an adapter's" if found else "there is nothing"
    raise InputError(f"cannot audit {shown}: {held}; give the folder that holds {CONFIG}")


def _only(found: list[str], reference: Reference) -> list[str]:
    if reference.file not in found:
        raise InputError(f"cannot audit {reference.shown}: there is no such file; check the reference")
    return [reference.file]


def _matches(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)
