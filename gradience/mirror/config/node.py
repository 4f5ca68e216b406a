"""A value of a sink list that knows where it stands."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec


class Node(msgspec.Struct, frozen=True):
    """A mapping of nodes, a list of nodes, or one value; `UNSET` for one that could not be read, as was said.

    `text` is what is written in the file, which may be shown: it has no expanded variable.
    """

    value: Any
    path: str
    line: int | None = None
    text: str | None = None

    @classmethod
    def of(cls, value: Any, path: str) -> "Node":
        """What Python gives."""
        if isinstance(value, Mapping):
            return cls({str(key): cls.of(item, f"{path}.{key}") for key, item in value.items()}, path)
        if isinstance(value, list | tuple):
            return cls([cls.of(item, f"{path}[{number}]") for number, item in enumerate(value)], path)
        return cls(value, path)

    @property
    def place(self) -> str:
        """What to call it beside another one."""
        return self.path if self.line is None else f"{self.path} on line {self.line}"

    @property
    def is_readable(self) -> bool:
        """Whether all of it could be read."""
        if isinstance(self.value, dict):
            return all(child.is_readable for child in self.value.values())
        if isinstance(self.value, list):
            return all(child.is_readable for child in self.value)
        return self.value is not msgspec.UNSET

    def texts(self) -> Iterator[str]:
        """Every text in it, as written."""
        if isinstance(self.value, dict | list):
            for child in self.value.values() if isinstance(self.value, dict) else self.value:
                yield from child.texts()
        elif self.text is not None:
            yield self.text

    def plain(self) -> Any:
        """The value by itself."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value
