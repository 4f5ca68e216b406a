"""The text of a configuration file as a mapping: JSON, or YAML read safely. Nothing in a file is executed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gradience.errors import InputError

SIZE_LIMIT: Final = 8_000_000  # bytes; a configuration is small, and a wrong file given by name is often not
VALUES_LIMIT: Final = 1_000_000  # an alias stands for all below its anchor, again and again, or for itself
_YAML: Final = (".yaml", ".yml")
_MENDS: Final[Mapping[type[OSError], str]] = {
    FileNotFoundError: "check the path",
    IsADirectoryError: "name a file in it",
    PermissionError: "mend its permissions",
}
_LFS_POINTER: Final = "version https://git-lfs"


def load(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        InputError: it cannot be read, is too large, is malformed, or is not a mapping.
    """
    return parse(_read(path), str(path), yaml=path.suffix.lower() in _YAML)


def parse(text: str, name: str, *, yaml: bool = False) -> dict[str, Any]:
    """The mapping in `text`; `name` is what an error calls it.

    Raises:
        InputError: the text is malformed, or not a mapping.
    """
    value = _yaml(text, name) if yaml else _json(text, name)
    if yaml and not _ends(value):
        raise InputError(
            f"cannot read settings from {name}: its YAML aliases unfold to over {VALUES_LIMIT} values, or never end; "
            "write the settings out"
        )
    if not isinstance(value, Mapping):
        raise InputError(
            f"cannot read settings from {name}: expected a mapping of names to values, found {_kind(value)}; "
            "name a file of settings, such as adapter_config.json"
        )
    return {str(key): item for key, item in value.items()}


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise InputError(
                f"cannot read settings from {path}: over {SIZE_LIMIT // 10**6} MB, too large; name the settings alone"
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        mend = _MENDS.get(type(error), "mend that, or name another file")
        raise InputError(f"cannot read settings from {path}: {error.strerror or error}; {mend}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"cannot read settings from {path}: not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    if text.startswith(_LFS_POINTER):
        raise InputError(f"cannot read settings from {path}: it is a Git LFS pointer; run `git lfs pull`")
    return text


def _json(text: str, name: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"cannot read settings from {name}: invalid JSON at line {error.lineno}: {error.msg}; mend that line"
        ) from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"cannot read settings from {name}: invalid JSON: {error}; mend the file") from error


def _yaml(text: str, name: str) -> object:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f" at line {error.problem_mark.line + 1}"
        raise InputError(
            f"cannot read settings from {name}: invalid YAML{line}: {error.problem}; mend that line"
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"cannot read settings from {name}: invalid YAML: {error}; mend the file") from error


def _ends(value: object) -> bool:
    """Whether somebody who walks through all of it comes to an end."""
    left, seen = [value], 0
    while left and seen <= VALUES_LIMIT:
        one = left.pop()
        below = list(one.values()) if isinstance(one, dict) else one if isinstance(one, list) else ()
        left.extend(below)
        seen += len(below)
    return seen <= VALUES_LIMIT


def _kind(value: object) -> str:
    return {list: "a list", str: "text", type(None): "nothing"}.get(type(value), f"a {type(value).__name__}")
