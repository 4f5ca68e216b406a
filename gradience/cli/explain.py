"""`gradience explain`: what a rule means, where it comes from, its thresholds and the test of what it says."""

from pathlib import Path
from typing import Final

import click
import msgspec

from gradience.cli import output
from gradience.policy import catalogue
from gradience.policy.rule import Policy
from gradience.report import rule_text
from gradience.settings.nearest import nearest

SCHEMA: Final = "gradience.rules/v1"


@click.command()
@click.argument("code", required=False)
@output.policy_option
@output.json_option
def command(*, code: str | None, policy_file: Path | None, as_json: bool) -> None:
    """Explain the rule CODE, such as over_provisioned; without one, list all of them.

    With --policy the thresholds are those of that file.
    """
    policy = catalogue.load(policy_file)
    rules = list(policy.rules.values()) if code is None else [policy.rules[_known(code, policy)]]
    if as_json:
        output.document({"schema": SCHEMA, "rules": msgspec.to_builtins(rules)})
    elif code is None:
        output.lines(rule_text.overview(rules))
    else:
        output.lines(rule_text.explain(rules[0], catalogue.shipped().rules[rules[0].code]))


def _known(code: str, policy: Policy) -> str:
    if code in policy.rules:
        return code
    meant = nearest(code, policy.rules)
    hint = f"did you mean {meant}?" if meant else "`gradience explain` lists them"
    raise click.BadParameter(f"there is no rule {code!r}; {hint}", param_hint="CODE")
