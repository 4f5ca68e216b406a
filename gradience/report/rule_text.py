"""Rules as people read them: on the terminal one by one or as a list, and as the page of the docs."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from gradience.policy.rule import Phase, Rule
from gradience.report import finding_text
from gradience.report.layout import block, heading, labelled, table
from gradience.report.numbers import number

TITLES: Final[dict[Phase, str]] = {
    "check": "Before training: gradience check",
    "audit": "An adapter: gradience audit",
    "monitor": "A recorded run: gradience monitor",
    "regression": "An adapter against another: gradience audit --baseline",
    "verification": "A compressed adapter: gradience verify",
}


def explain(rule: Rule, ours: Rule) -> str:
    """All there is to say of a rule; `ours` is the same without anybody's policy."""
    lines = [f"{heading(rule.code)}  {finding_text.severity(rule.severity)}, {rule.confidence} confidence", ""]
    for label, text in _parts(rule).items():
        lines += labelled(label, text) if text else []
    for name, value in rule.thresholds.items():
        changed = "" if value == ours.thresholds[name] else f"  (ours: {number(ours.thresholds[name])})"
        lines += labelled("threshold", f"{name} = {number(value)}{changed}")
    if not rule.enabled:
        lines += labelled("switched off", "by the policy")
    return "\n".join(lines)


def overview(rules: Sequence[Rule]) -> str:
    """A line each, by phase."""
    lines: list[str] = []
    for phase, group in groupby(rules, key=lambda rule: rule.phase):
        rows = [(rule.code, rule.severity.value, rule.confidence, _short(rule.condition)) for rule in group]
        lines += block(TITLES[phase], table(("code", "severity", "confidence", "when"), rows, left=4))
    return "\n".join([*lines[1:], "", "gradience explain CODE says more."])


def page(rules: Iterable[Rule]) -> str:
    """The page of the docs, in Markdown."""
    lines = [
        "# Rules",
        "",
        "Every rule that Gradience applies: when it fires, how sure it is, where it comes from, and what would refute",
        "it. Thresholds can be changed with `--policy FILE` (see `configs/policies/`); a finding names those that were",
        "used. This page is made from the rules themselves: `python -m gradience.report.rule_page > docs/RULES.md`.",
    ]
    for phase, group in groupby(rules, key=lambda rule: rule.phase):
        lines += ["", f"## {TITLES[phase]}"]
        for rule in group:
            lines += ["", *_section(rule)]
    return "\n".join(lines) + "\n"


def _section(rule: Rule) -> list[str]:
    lines = [f"### `{rule.code}`", "", f"*{rule.severity.value}, {rule.confidence} confidence.* {rule.condition}", ""]
    parts = {label.capitalize(): text for label, text in _parts(rule).items() if label != "when"}
    lines += [f"- **{label}**: {text}" for label, text in parts.items() if text]
    thresholds = ", ".join(f"`{name}` = {number(value)}" for name, value in rule.thresholds.items())
    return [*lines, *([f"- **Thresholds**: {thresholds}"] if thresholds else [])]


def _parts(rule: Rule) -> dict[str, str | None]:
    return {
        "when": rule.condition,
        "says": _named(rule.message),
        "hypothesis": _named(rule.hypothesis),
        "test": _named(rule.test),
        "limits": _named(rule.limits),
        "source": rule.source,
    }


def _named(template: str | None) -> str | None:
    """A template with the names of its facts in capitals in the places of their values."""
    return None if template is None else re.sub(r"\{(\w+)[^}]*\}", lambda found: found[1].upper(), template)


def _short(text: str) -> str:
    first = re.split(r"(?<=[.;:])\s", text)[0].rstrip(".;:")
    return first if len(first) <= 60 else f"{first[:59].rstrip()}…"
