"""Every rule as data: one YAML file for each phase, an entry for each code, a reason beside each threshold.

To add a rule, write its entry (the fields of `Rule`; `condition`, `message` and `source` at least), and a function of
the same name in the phase's module, listed in its RULES: `(case, thresholds) -> Match | None`. tests/policy_cases.py
wants a case in which it fires and one in which it is silent; docs/RULES.md is made from here.
"""

from functools import cache
from pathlib import Path
from typing import Final, get_args

import msgspec

from gradience.policy.rule import Phase, Policy, Rule

PHASES: Final[tuple[Phase, ...]] = get_args(Phase)


def load(path: Path | None = None) -> Policy:
    """Our rules, with what the policy file at `path` changes.

    Raises:
        ConfigError: there are mistakes in the file; each is named.
        InputError: it cannot be read.
    """
    if path is None:
        return shipped()
    from gradience.policy.catalogue import overrides  # hardly anybody has a file

    return overrides.applied(path, shipped())


@cache
def shipped() -> Policy:
    """Our rules as they are."""
    return Policy({rule.code: rule for phase in PHASES for rule in _rules(phase)})


def _rules(phase: Phase) -> list[Rule]:
    import yaml  # only for those who judge something

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built
    text = Path(__file__).with_name(f"{phase}.yaml").read_text(encoding="utf-8")
    entries = yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader, of our own file
    return [msgspec.convert({"code": code, "phase": phase, **entry}, Rule) for code, entry in entries.items()]
