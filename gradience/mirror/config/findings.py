"""What is wrong in a sink list, and what is worth a remark: each with its place, none with a value."""

import msgspec

from gradience.errors import ConfigError
from gradience.mirror import reason
from gradience.mirror.config.node import Node
from gradience.report.plain import plain


class _Mistake(msgspec.Struct, frozen=True, order=True):
    line: int
    text: str


class Findings:
    """Collects; `check` raises them all at once."""

    def __init__(self, file: str | None = None) -> None:
        self.file = file
        self.remarks: list[str] = []
        self.expanded: dict[str, str] = {}  # what variables stood for, and how they are written
        self._mistakes: list[_Mistake] = []

    def wrong(self, node: Node, what: str) -> None:
        """There is a mistake."""
        self._mistakes.append(_Mistake(node.line or 0, self._at(node, what)))

    def remark(self, node: Node, what: str) -> None:
        """It can be used; there is something to know."""
        self.remarks.append(self._at(node, what))

    def masked(self, error: Exception) -> str:
        """What somebody else says about the values, with none of those that came from the environment."""
        text = " ".join(str(error).split()).removesuffix(".")
        return reason.hiding(text, self.expanded)[: reason.LONGEST]

    def check(self) -> None:
        """Pass a list without mistakes.

        Raises:
            ConfigError: there are some.
        """
        if self._mistakes:
            raise ConfigError(self.file, tuple(mistake.text for mistake in sorted(self._mistakes)))

    def _at(self, node: Node, what: str) -> str:
        line = "" if node.line is None else f":{node.line}"
        where = f"{self.file}{line}: " if self.file else ""
        return plain(f"{where}{node.path}: {what}" if node.path else f"{where}{what}")
