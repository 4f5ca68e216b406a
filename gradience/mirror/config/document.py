"""The text of a YAML file as nodes that know their line: nothing is executed, nothing is built but what is asked for.

What stands beside the sinks in a larger file may have tags and types of its own: it is only parsed.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import yaml

from gradience.mirror.config import variables
from gradience.mirror.config.findings import Findings
from gradience.mirror.config.node import Node
from gradience.settings.nearest import nearest

NODES: Final = 10_000  # a few aliases to aliases make billions of a short file
DEPTH: Final = 32
_TAG: Final = "tag:yaml.org,2002:"
_TEXT: Final = ("str", "timestamp", "value", "merge")  # what stays as it is written
_VALUES: Final = ("null", "bool", "int", "float")
_constructor: Final = yaml.constructor.SafeConstructor()


def entries(text: str, key: str, env: Mapping[str, str], findings: Findings) -> list[Node]:
    """The entries of a list, or of the list under `key` in a mapping.

    Raises:
        ConfigError: it is no YAML, or has no such list.
    """
    root, path = _compose(text, findings), ""
    if isinstance(root, yaml.MappingNode):
        root, path = _under(root, key, findings), key
    if root is None:
        findings.check()
        return []
    if isinstance(root, yaml.ScalarNode) and root.tag == f"{_TAG}null" and path:
        return []  # all of its entries are commented out
    if not isinstance(root, yaml.SequenceNode):
        findings.wrong(_place(root, path), "is no list: give a sink a line of its own, such as `- type: mlflow`")
        findings.check()
        return []
    reader = _Reader(env, findings)
    return [reader.entry(child, f"{path}[{number}]") for number, child in enumerate(root.value)]


def _compose(text: str, findings: Findings) -> yaml.Node | None:
    root: yaml.Node | None = None
    problem, line = "holds nothing: give it a list of sinks, such as `- type: mlflow`", 1
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        problem, line = f"no YAML: a character that no text file has (#x{error.character:04x})", _line(text, error)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        is_second = error.context == "expected a single document in the stream"
        problem = f"no YAML: {error.problem}" + (f" in column {mark.column + 1}" if mark else "")
        problem = "begins a second document: give one" if is_second else problem
        line = mark.line + 1 if mark else 1
    except RecursionError:
        problem = "nested too deep"
    if root is None:
        findings.wrong(Node(None, "", line), problem)
    return root


def _line(text: str, error: yaml.reader.ReaderError) -> int:
    return text.count("\n", 0, error.position) + 1


def _under(root: yaml.MappingNode, key: str, findings: Findings) -> yaml.Node | None:
    found: list[yaml.Node] = [value for name, value in root.value if name.value == key]
    if not found:
        known = [name.value for name, _ in root.value if isinstance(name, yaml.ScalarNode)]
        meant = nearest(key, known)
        hint = f"; `{meant}` is near" if meant else ""
        single = " (one sink is a list of one: `- type: ...`)" if "type" in known else ""
        findings.wrong(_place(root, ""), f"has no key `{key}`, and is no list of sinks{hint}{single}")
    for again in found[1:]:
        findings.wrong(_place(again, key), "stands here a second time: keep one")
    return found[0] if found else None


def _place(node: yaml.Node, path: str) -> Node:
    return Node(None, path, node.start_mark.line + 1)


class _Reader:
    """Makes nodes, with variables put in; of what cannot be read, it says why and goes on."""

    def __init__(self, env: Mapping[str, str], findings: Findings) -> None:
        self._env = env
        self._findings = findings
        self._count = 0

    def entry(self, source: yaml.Node, path: str) -> Node:
        if self._count >= NODES:
            return Node(msgspec.UNSET, path)
        node = self._node(source, path)
        if self._count < NODES:
            return node
        self._findings.wrong(_place(source, path), "holds too much, or itself: write it without aliases")
        return msgspec.structs.replace(node, value=msgspec.UNSET)

    def _node(self, source: yaml.Node, path: str, line: int | None = None, depth: int = 0) -> Node:
        place = Node(msgspec.UNSET, path, line or source.start_mark.line + 1)
        self._count = NODES if depth > DEPTH else self._count + 1
        if self._count >= NODES:
            return place
        if isinstance(source, yaml.MappingNode):
            return msgspec.structs.replace(place, value=self._mapping(source, path, depth))
        if isinstance(source, yaml.SequenceNode):
            items = [self._node(child, f"{path}[{i}]", depth=depth + 1) for i, child in enumerate(source.value)]
            return msgspec.structs.replace(place, value=items)
        return self._scalar(source, place)

    def _mapping(self, source: yaml.MappingNode, path: str, depth: int) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in source.value:
            line = key.start_mark.line + 1
            if key.tag == f"{_TAG}merge":
                merged |= self._merged(value, path, depth)
            elif not isinstance(key, yaml.ScalarNode):
                self._findings.wrong(Node(None, path, line), "has a key that is no text")
            elif key.value in own:
                first = own[key.value].line
                self._findings.wrong(Node(None, f"{path}.{key.value}", line), f"stands on line {first} too: keep one")
            else:
                own[key.value] = self._node(value, f"{path}.{key.value}", line, depth + 1)
        return {**merged, **own}

    def _merged(self, source: yaml.Node, path: str, depth: int) -> dict[str, Node]:
        """What `<<: *defaults` brings; of several, the first counts."""
        several = source.value if isinstance(source, yaml.SequenceNode) else [source]
        found: dict[str, Node] = {}
        for one in reversed(several):
            value = self._node(one, path, depth=depth + 1).value
            if isinstance(value, dict):
                found |= value
            elif value is not msgspec.UNSET:
                self._findings.wrong(_place(one, f"{path}.<<"), "is no mapping, so that it cannot be merged")
        return found

    def _scalar(self, source: yaml.Node, place: Node) -> Node:
        kind, text = source.tag.removeprefix(_TAG), source.value
        if kind in _TEXT:
            return self._text(text, place)
        if kind in _VALUES:
            try:
                return msgspec.structs.replace(place, value=_constructor.construct_object(source), text=text)
            except (ValueError, LookupError):  # PyYAML takes a tag's word for it
                self._findings.wrong(place, f"cannot be read as its tag says: {kind}")
        else:
            self._findings.wrong(place, "has a tag that sink lists do not have: leave it out")
        return place

    def _text(self, text: str, place: Node) -> Node:
        """A text; one that a variable has emptied counts as not given."""
        expansion = variables.expand(text, self._env)
        self._findings.expanded |= {value: f"${{{name}}}" for name, value in expansion.used.items()}
        if expansion.is_broken:
            self._findings.wrong(place, "has a `${` that begins no variable: ${NAME}, ${NAME:-default}, $$ for a $")
        for name in expansion.unset:
            self._findings.wrong(place, f"needs the environment variable {name}, which is not set: or ${{{name}:-...}}")
        is_text = _is_text(expansion.text)
        if not is_text:
            self._findings.wrong(place, "has characters that are no text")
        if expansion.is_broken or expansion.unset or not is_text:
            return place
        value: Any = expansion.text if expansion.text or not text else None
        return msgspec.structs.replace(place, value=value, text=text)


def _is_text(text: str) -> bool:
    """Whether it can be written anywhere; half of a pair of surrogates cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
