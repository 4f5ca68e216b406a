"""MLflow's names for ours: every key becomes one that MLflow takes, and two keys never become the same one.

A key that had to change is remembered on the tracked run, as a tag that holds the original, so that every process that
ever delivers to the run gives the same answer.
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

TAG: Final = "gradience.key."  # + the name in MLflow -> the original
LONGEST: Final = 250 - len(TAG)  # MLflow takes 250 characters, of our tag too
_FOREIGN: Final = re.compile(r"[^/\w.\- :]")  # MLflow's own rule, and its `$` lets a newline through: this does not


def legal(key: str) -> str:
    """The nearest key that MLflow takes: foreign characters are `_`, no part is empty or dots alone."""
    parts = (part if part.strip(".") else "_" * len(part) for part in _FOREIGN.sub("_", key).split("/"))
    name = "/".join(part for part in parts if part) or "_"
    name = f"_{name[1:]}" if name.startswith("..") else name  # else MLflow takes it for a path upwards
    return name if len(name) <= LONGEST else _marked(name, key)


def _marked(name: str, key: str) -> str:
    mark = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{name[: LONGEST - len(mark) - 1].rstrip('/')}-{mark}"


class Names:
    """The keys of one tracked run."""

    def __init__(self, tags: Mapping[str, str] = {}, present: Iterable[str] = ()) -> None:  # never changed
        self._owners = {tag.removeprefix(TAG): key for tag, key in tags.items() if tag.startswith(TAG)}
        for name in present:
            self._owners.setdefault(name, name)
        self._names: dict[str, str] = {}

    def name(self, key: str) -> str:
        """The run's name for a key, the same each time."""
        if key not in self._names:
            name = legal(key)
            taken = self._owners.setdefault(name, key) != key
            self._names[key] = _marked(name, key) if taken else name
        return self._names[key]

    def changed(self, keys: Iterable[str]) -> dict[str, str]:
        """The tags that remember which of these keys had to change."""
        return {TAG + self.name(key): key for key in keys if self.name(key) != key}
