"""Sink lists: which trackers are meant, from a YAML file, from Python, or from the environment.

    document   YAML as a tree whose values know their line
    variables  ${VAR} and ${VAR:-default}
    node       that tree, also for what Python gives
    findings   the mistakes and remarks on the way, each with its place
    entry      one entry of the list
    options    what a sink's constructor takes

Every mistake of a list is found before it is refused, and no message has a value in it: it may be a secret.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from gradience.errors import GradienceError, InputError
from gradience.mirror import registry
from gradience.mirror.config import entry
from gradience.mirror.config.findings import Findings
from gradience.mirror.config.node import Node
from gradience.mirror.cursor import lock_name
from gradience.mirror.wish import Wish
from gradience.vnext.mirroring import SINKS_VARIABLE

KEY: Final = "sinks"  # of a larger file, and what a list is called that stands in none
SIZE_LIMIT: Final = 256_000  # bytes: YAML is read slowly, and a larger file is hardly meant
_SINK: Final = ("name", "target", *registry.METHODS)
_FILES: Final = (".yaml", ".yml", ".json")


class Config(msgspec.Struct, frozen=True):
    """A sink list without mistakes; `remarks` are what a person should know of it nevertheless, a line each."""

    wishes: tuple[Wish, ...]
    remarks: tuple[str, ...] = ()


def read(sinks: Any, env: Mapping[str, str] = os.environ) -> Config:
    """The sinks that somebody asked for: a file, names in one text, or a list of names, mappings and sink objects.

    None are those of `GRADIENCE_SINKS`.

    Raises:
        ConfigError: there are mistakes in it; each is named.
        InputError: the file cannot be read.
        TypeError: `sinks` is none of these.
    """
    origin = KEY
    if sinks is None:
        sinks, origin = env.get(SINKS_VARIABLE, ""), SINKS_VARIABLE
    if isinstance(sinks, Path) or (isinstance(sinks, str) and is_file(sinks)):
        return load(Path(sinks), env)
    if isinstance(sinks, str):
        return given([name.strip() for name in sinks.split(",") if name.strip()], origin)
    if isinstance(sinks, Mapping) or not isinstance(sinks, Iterable):
        kind = type(sinks).__name__
        raise TypeError(f"sinks is a {kind}: it takes a list, such as ['mlflow'], or the path of a YAML file")
    return given(list(sinks))


def is_file(text: str) -> bool:
    """Whether a text is the path of a file, and not names of sinks."""
    return text.lower().endswith(_FILES) or "/" in text or os.sep in text


def load(path: Path, env: Mapping[str, str] = os.environ) -> Config:
    """The sinks that a file names; its relative path is one from the working directory.

    Raises:
        ConfigError: there are mistakes in it; each is named.
        InputError: it cannot be read.
    """
    return parse(_text(path.expanduser()), str(path), env)


def parse(text: str, file: str, env: Mapping[str, str]) -> Config:
    """The sinks in the text of a file: a list, or the `sinks` of a mapping, of which nothing else is looked at.

    Raises:
        ConfigError: there are mistakes in it; each is named.
    """
    from gradience.mirror.config import document  # a recorder whose sinks stand in no file needs no YAML

    findings = Findings(file)
    return _config(document.entries(text, KEY, env, findings), findings)


def given(sinks: Sequence[Any], origin: str = KEY) -> Config:
    """The sinks in a list of names, mappings and sink objects; a `$` in them is nothing special.

    `origin` is what mistakes call the list.

    Raises:
        ConfigError: there are mistakes in it; each is named.
    """
    return _config([Node.of(sink, f"{origin}[{number}]") for number, sink in enumerate(sinks)], Findings())


def _config(entries: Iterable[Node], findings: Findings) -> Config:
    wishes = [(node, wish) for node in entries if (wish := _wish(node, findings)) is not None]
    _distinct(wishes, findings)
    findings.check()
    return Config(tuple(wish for _, wish in wishes), tuple(findings.remarks))


def _wish(node: Node, findings: Findings) -> Wish | None:
    if all(hasattr(node.value, part) for part in _SINK):
        return Wish(type=node.value.name, made=node.value)
    return entry.read(node, findings)


def _distinct(wishes: Iterable[tuple[Node, Wish]], findings: Findings) -> None:
    """A run is one tracked run of a tracker: a second sink there would find everything delivered, or wait for ever."""
    targets: dict[tuple[str, str], Node] = {}
    trackers: dict[str, Node] = {}
    for node, wish in wishes:
        try:
            sink = wish.sink()
            first = targets.setdefault((sink.name, sink.target), node)
            there = node if "run" in wish.options else trackers.setdefault(lock_name(sink.name, sink.target), node)
        except (GradienceError, AttributeError) as error:
            findings.wrong(node, findings.masked(error))
            continue
        if first is not node:
            findings.wrong(node, f"leads to the same target as {first.place}: keep one of them")
        elif there is not node:
            mend = "keep one of them, or name a `run` in each"
            findings.wrong(node, f"leads to the tracker of {there.place}, where a run of yours is one run: {mend}")


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise InputError(f"cannot read sinks from {path}: no regular file, and a pipe would block")
        with path.open("rb") as file:
            raw = file.read(SIZE_LIMIT + 1)
        if len(raw) > SIZE_LIMIT:
            raise InputError(f"cannot read sinks from {path}: over {SIZE_LIMIT // 1000} kB, too large for a sink list")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read sinks from {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read sinks from {path}: not UTF-8 text (byte {error.start})") from error
