"""Layouts of other tools that are audited too, each by its own scale rule: one file each, the same names inside."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, Protocol

from gradience.audit.disk.foreign import diffusers, kohya, mlx
from gradience.audit.disk.foreign.contents import Contents
from gradience.audit.tensors import safetensors_file
from gradience.errors import AdapterError


class Layout(Protocol):
    """One tool's way to write an adapter."""

    NAME: str

    def is_one(self, keys: Collection[str]) -> bool:
        """Whether a file with these keys has this layout."""

    def settings(self, weights: Path) -> Path:
        """The file that says what the factors mean, which may be the weights themselves."""

    def read(self, weights: Path) -> Contents:
        """What the file holds.

        Raises:
            AdapterError: the update does not follow from its factors.
        """


LAYOUTS: Final[dict[str, Layout]] = {layout.NAME: layout for layout in (kohya, diffusers, mlx)}


def layout(file: Path) -> Layout | None:
    """The layout of a safetensors file; None if it is of none of these tools.

    Raises:
        AdapterError: it is no safetensors file.
    """
    keys = safetensors_file.header(file).keys()
    return next((one for one in LAYOUTS.values() if one.is_one(keys)), None)


def files(folder: Path) -> Iterator[Path]:
    """The files of these layouts in `folder`; their users pick the names."""
    for file in sorted(folder.glob("*.safetensors")):
        try:
            found = layout(file) if file.is_file() else None  # a pipe would block
        except AdapterError:
            continue
        if found is not None:
            yield file
