"""One entry of a sink list: a name, or a mapping with `type`, settings of the delivery, and options of the sink."""

import re
import typing
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from gradience.errors import GradienceError
from gradience.mirror import registry
from gradience.mirror.config import variables
from gradience.mirror.config.findings import Findings
from gradience.mirror.config.node import Node
from gradience.mirror.config.options import Options
from gradience.mirror.wish import Wish
from gradience.settings.nearest import nearest
from gradience.vnext import privacy
from gradience.vnext.repair import EVENTS

_HINTS: Final = typing.get_type_hints(Wish, include_extras=True)
_OWN: Final = {name: kind for name, kind in _HINTS.items() if name not in ("made", "source", "variables")}
_SETTINGS: Final = {name: kind for name, kind in _OWN.items() if name not in ("type", "options")}
_METRICS: Final = frozenset(("train/loss", "train/lr", "train/grad_norm"))  # that every run may have
_USER_INFO: Final = re.compile(r"://[^/\s?#]*:[^/\s?#]+@")
_WORDS: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


def read(node: Node, findings: Findings) -> Wish | None:
    """The wish of an entry; None when it has mistakes."""
    fields = {"type": node} if isinstance(node.value, str) else node.value
    if fields is msgspec.UNSET:
        return None
    if not isinstance(fields, dict):
        findings.wrong(node, f"is {_kind(fields)}: a sink is a name, or a mapping with `type`")
        return None
    return _Entry(node, fields, findings).wish()


class _Entry:
    def __init__(self, node: Node, fields: Mapping[str, Node], findings: Findings) -> None:
        self._node = node
        # What is empty, or emptied by a variable, counts as not given.
        self._fields = {key: field for key, field in fields.items() if field.value is not None}
        self._findings = findings
        self._type = ""
        self._shown = ""  # the type as it may be shown
        self._takes: Options | None = None
        self._is_sound = node.is_readable

    def wish(self) -> Wish | None:
        self._find_sink()
        settings = {key: self._setting(key) for key in _SETTINGS if key in self._fields}
        options = self._options()
        if not self._is_sound:
            return None
        made = Wish(type=self._type, options=options, source=self._findings.file, **settings)
        return msgspec.structs.replace(made, variables=self._variables())

    def _variables(self) -> dict[str, tuple[str, ...]]:
        """The variables that each field has its value from."""
        fields = {**{key: node for key, node in self._fields.items() if key != "options"}, **self._listed()}
        found = {key: [name for text in node.texts() for name in variables.names(text)] for key, node in fields.items()}
        return {key: tuple(dict.fromkeys(names)) for key, names in found.items() if names}

    def _find_sink(self) -> None:
        node = self._fields.get("type")
        if node is None:
            self._wrong(self._node, f"has no `type`, which names the sink{self._type_hint()}")
            return
        self._type = self._value(node, _OWN["type"]) or ""
        if not self._type:
            return
        self._shown = node.text or self._type
        try:
            self._takes = Options.of(registry.find(self._type))
        except GradienceError as error:
            self._wrong(node, self._unknown() or self._findings.masked(error))

    def _type_hint(self) -> str:
        """What was meant by an entry without a type."""
        if near := next((key for key in self._fields if nearest(key, ["type"])), None):
            return f"; is `{near}` meant?"
        known = registry.names()
        if named := next((key for key in self._fields if key in known), None):
            return f": write `type: {named}`, and its options beside that"
        return f" (installed: {', '.join(known)})"

    def _unknown(self) -> str | None:
        """What to say about a name that nobody has installed; the rest of the entry is held against the nearest."""
        names = registry.names()
        if self._type in names or ":" in self._type:
            return None
        shown, meant = self._shown, nearest(self._type, names)
        if meant is not None:
            self._type = self._shown = meant
            with suppress(GradienceError):
                self._takes = Options.of(registry.find(meant))
            return f"no sink named {shown!r} is installed; {meant}?"
        known = f"installed: {', '.join(names) or 'none'}"
        return f"no sink named {shown!r} is installed ({known}): {registry.install_line(self._type)}"

    def _setting(self, key: str) -> Any:
        node = self._fields[key]
        value = self._value(node, _SETTINGS[key])
        if key == "name" and value and not value.isprintable():
            self._wrong(node, "has characters that steer a terminal: leave them out")
        if key == "events" and value:
            for number, name in enumerate(value):
                if name not in EVENTS:
                    self._wrong(_child(node, number), _among(EVENTS, name, "no such event"))
        if key == "rename" and value:
            self._check_names(node, value)
        return value

    def _check_names(self, node: Node, names: Mapping[str, str]) -> None:
        """Two metrics of one name would be one curve with the numbers of both."""
        if len(set(names.values())) < len(names):
            self._wrong(node, "gives two metrics one name, so that one would hide the other")
        for taken in sorted(_METRICS & set(names.values()) - set(names)):
            self._wrong(node, f"gives the name of {taken} to another metric: rename that one, too")

    def _options(self) -> dict[str, Any]:
        direct = {key: node for key, node in self._fields.items() if key not in _OWN}
        listed = self._listed()
        for key in direct.keys() & listed.keys():
            self._wrong(listed[key], "stands in the entry itself, too: keep one")
        if self._takes is None:
            return {}
        values = {key: self._option(key, node, is_listed=False) for key, node in direct.items()}
        values |= {key: self._option(key, node, is_listed=True) for key, node in listed.items()}
        for name, option in self._takes.named.items():
            if option.is_needed and name not in values:
                self._wrong(self._node, f"lacks `{name}`, without which a sink of type {self._shown} cannot be")
        return values

    def _listed(self) -> dict[str, Node]:
        node = self._fields.get("options")
        if node is None or node.value is msgspec.UNSET:
            return {}
        if not isinstance(node.value, dict):
            self._wrong(node, f"expected a mapping, found {_kind(node.value)}")
            return {}
        return {key: child for key, child in node.value.items() if child.value is not None}

    def _option(self, key: str, node: Node, *, is_listed: bool) -> Any:
        takes = self._takes
        if takes is None or (key not in takes.named and not takes.is_open):
            self._wrong(node, self._unknown_key(key, is_listed))
            return None
        if node.is_readable and not _is_plain(node.plain()):
            self._wrong(node, "is not a plain value: give text, numbers, lists or mappings")
            return None
        self._beware(key, node)
        return msgspec.to_builtins(self._value(node, takes.named[key].kind if key in takes.named else Any))

    def _unknown_key(self, key: str, is_listed: bool) -> str:
        options = self._takes.named if self._takes else {}
        if is_listed and key in _OWN:
            return "is no option of the sink: it stands beside `type`"
        known = [*options] if is_listed else [*options, *_OWN]
        return _among(known, key, f"no such {'option' if is_listed else 'key'} of a sink of type {self._shown}")

    def _beware(self, key: str, node: Node) -> None:
        """A secret in a file is soon one in a repository."""
        written = node.text if isinstance(node.value, str) else None
        if not written or "${" in written:
            return
        if privacy.is_secret(key, written) or _USER_INFO.search(written) or privacy.has_token(written):
            name = re.sub(r"\W", "_", f"{self._type}_{key}").upper()
            self._findings.remark(node, f"a secret in plain text: write ${{{name}}}, and set that in the environment")

    def _value(self, node: Node, kind: Any) -> Any:
        """A value as its type has it; the number of a text, the text of a number."""
        if not node.is_readable:
            return None
        try:
            return _converted(node, kind)
        except msgspec.ValidationError as error:
            self._wrong(*_mismatch(node, kind, str(error)))
        except TypeError:  # a type that msgspec does not know: the sink will see for itself
            return node.plain()
        return None

    def _wrong(self, node: Node, what: str) -> None:
        self._is_sound = False
        self._findings.wrong(node, what)


def _is_plain(value: Any) -> bool:
    """Whether it can travel to another process."""
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError):
        return False
    return True


def _converted(node: Node, kind: Any) -> Any:
    try:
        return msgspec.convert(node.plain(), kind, strict=False)
    except msgspec.ValidationError:
        if node.text is not None and not isinstance(node.value, str):
            with suppress(msgspec.ValidationError):
                return msgspec.convert(node.text, kind, strict=True)
        raise


def _mismatch(node: Node, kind: Any, said: str) -> tuple[Node, str]:
    """What msgspec says, about the node that it means; never the value."""
    said, _, inner = said.partition(" - at `$")
    if not said.startswith("Expected"):
        literals = (one for one in (kind, *typing.get_args(kind)) if typing.get_origin(one) is typing.Literal)
        choices = [repr(choice) for literal in literals for choice in typing.get_args(literal)]
        said = f"expected one of {', '.join(choices)}" if choices else "is none of the values that it takes"
    words = re.sub(r"`([^`]*)`", lambda match: _spelled(match[1]), said[0].lower() + said[1:])
    index = re.match(r"\[(\d+)\]", inner)
    return (_child(node, int(index[1])) if index else node), words.replace(", got ", ", found ")


def _child(node: Node, number: int) -> Node:
    return node.value[number] if isinstance(node.value, list) and number < len(node.value) else node


def _spelled(kinds: str) -> str:
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null") or "nothing"


def _among(known: Iterable[str], word: str, what: str) -> str:
    meant = nearest(word, known)
    return f"{what}; {meant}?" if meant else f"{what}; there are {', '.join(known)}"


def _kind(value: Any) -> str:
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return "empty" if value is None else kinds.get(type(value), f"a {type(value).__name__}")
