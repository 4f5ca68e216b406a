"""How each tool's adapter is written: one file each, the same names inside."""

from collections.abc import Mapping
from typing import Final, Protocol

from gradience.audit.compression.drafting import Draft
from gradience.audit.compression.layouts import diffusers, kohya, mlx, peft
from gradience.audit.disk.adapter import Adapter


class Layout(Protocol):
    """One tool's way to write an adapter."""

    NAME: str

    def draft(self, found: Adapter, ranks: Mapping[str, int]) -> Draft:
        """The adapter with its modules, by name, at these ranks.

        Raises:
            AdapterError: the layout cannot hold such ranks.
        """


LAYOUTS: Final[dict[str, Layout]] = {layout.NAME: layout for layout in (peft, kohya, diffusers, mlx)}


def of(found: Adapter) -> Layout:
    """The layout of an adapter, in which its compressed form is written too."""
    return LAYOUTS[found.info.layout]
