"""Somebody's policy file: for each code what they want otherwise. Every mistake is found before it is refused.

over_provisioned:
thresholds: {share_of_r_max: 0.25}
severity: warning
batch_large_for_lora:
enabled: false
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from gradience.errors import ConfigError, InputError
from gradience.policy.rule import Policy, Rule
from gradience.settings.nearest import nearest
from gradience.vnext.types import Severity

SIZE_LIMIT: Final = 256_000  # bytes; all of our own rules are a tenth of it
FIELDS: Final = ("thresholds", "severity", "enabled")
SEVERITIES: Final = ("info", "warning", "error")


class Mistake(msgspec.Struct, frozen=True, order=True):
    """What is wrong on a line."""

    line: int
    text: str


def applied(path: Path, policy: Policy) -> Policy:
    """The policy with the changes that the file asks for.

    Raises:
        ConfigError: there are mistakes in it; each is named.
        InputError: it cannot be read.
    """
    root = _root(path)
    mistakes: list[Mistake] = []
    changed = dict(_changes(root, policy.rules, mistakes)) if root else {}
    if mistakes:
        raise ConfigError(str(path), tuple(f"{path}:{one.line}: {one.text}" for one in sorted(mistakes)))
    return Policy({**policy.rules, **changed})


def _root(path: Path) -> yaml.MappingNode | None:
    try:
        raw = path.read_bytes()
        if len(raw) > SIZE_LIMIT:
            raise InputError(f"cannot read the policy {path}: it is too large for one; check that it is the right file")
        root = yaml.compose(raw.decode(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise InputError(f"cannot read the policy {path}: {error.strerror}; check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"cannot read the policy {path}: it is no YAML ({_problem(error)}); mend it") from error
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise InputError(f"cannot read the policy {path}: it is no mapping; begin with a rule's code and a colon")
    return root


def _problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark else ""
    return where + str(getattr(error, "problem", None) or type(error).__name__)


def _changes(root: yaml.MappingNode, rules: Mapping[str, Rule], mistakes: list[Mistake]) -> Iterator[tuple[str, Rule]]:
    for code, (line, entry) in _entries(root, "", mistakes).items():
        if code not in rules:
            mistakes.append(Mistake(line, f"{code}: {_unknown('rule', code, rules)}"))
        elif not isinstance(entry, yaml.MappingNode):
            mistakes.append(Mistake(line, f"{code}: is no mapping; it takes {', '.join(FIELDS)}"))
        else:
            yield code, _changed(rules[code], entry, mistakes)


def _changed(rule: Rule, entry: yaml.MappingNode, mistakes: list[Mistake]) -> Rule:
    fields: dict[str, Any] = {}
    for name, (line, node) in _entries(entry, rule.code, mistakes).items():
        place = f"{rule.code}.{name}"
        if name == "thresholds" and isinstance(node, yaml.MappingNode):
            fields[name] = rule.thresholds | dict(_thresholds(rule, node, mistakes))
        elif name == "severity" and isinstance(node, yaml.ScalarNode) and node.value in SEVERITIES:
            fields[name] = Severity(node.value)
        elif name == "enabled" and node.tag == "tag:yaml.org,2002:bool":
            fields[name] = node.value.lower() in ("true", "yes", "on")
        elif name in FIELDS:
            takes = {"thresholds": "a mapping", "severity": "info, warning or error", "enabled": "true or false"}
            mistakes.append(Mistake(line, f"{place}: it takes {takes[name]}"))
        else:
            mistakes.append(Mistake(line, f"{place}: {_unknown('field', name, FIELDS)}"))
    return msgspec.structs.replace(rule, **fields, changed=tuple(_names(rule, fields)))


def _thresholds(rule: Rule, node: yaml.MappingNode, mistakes: list[Mistake]) -> Iterator[tuple[str, float]]:
    for name, (line, value) in _entries(node, f"{rule.code}.thresholds", mistakes).items():
        place, number = f"{rule.code}.thresholds.{name}", _number(value)
        if name not in rule.thresholds:
            mistakes.append(Mistake(line, f"{place}: {_unknown('threshold', name, rule.thresholds)}"))
        elif number is None:
            mistakes.append(Mistake(line, f"{place}: it takes a number"))
        else:
            yield name, number


def _entries(node: yaml.MappingNode, place: str, mistakes: list[Mistake]) -> dict[str, tuple[int, yaml.Node]]:
    found: dict[str, tuple[int, yaml.Node]] = {}
    for key, value in node.value:
        line, name = key.start_mark.line + 1, str(key.value)
        if name in found:
            path = f"{place}.{name}" if place else name
            mistakes.append(Mistake(line, f"{path}: it stands on line {found[name][0]} too; keep one"))
        found[name] = (line, value)
    return found


def _number(node: yaml.Node) -> float | None:
    try:
        number = float(node.value) if isinstance(node, yaml.ScalarNode) else math.nan  # 1e-4 is a text to YAML
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _unknown(kind: str, word: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    meant = nearest(word, known)
    if meant is not None:
        return f"there is no such {kind}; {meant} is near"
    return f"there is no such {kind}; " + (
        f"there are {', '.join(known)}" if 0 < len(known) < 8 else "see gradience explain"
    )


def _names(rule: Rule, fields: Mapping[str, Any]) -> Iterator[str]:
    """What is now otherwise, by name."""
    for name, value in fields.items():
        if name == "thresholds":
            yield from (key for key, number in value.items() if number != rule.thresholds[key])
        elif value != getattr(rule, name):
            yield name
