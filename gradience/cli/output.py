"""What every command does alike with its results: JSON on stdout, findings against `--fail-on`, talk on stderr."""

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, TypeVar

import click

from gradience.cli.path import A_PATH
from gradience.mirror.sink import Tracked
from gradience.policy.rule import at_or_above
from gradience.report.plain import plain
from gradience.vnext.types import Recommendation, Severity

FINDINGS: Final = 3
BEHIND: Final = 4
_F = TypeVar("_F", bound=Callable[..., Any])

json_option: Callable[[_F], _F] = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
verbose_option: Callable[[_F], _F] = click.option("--verbose", is_flag=True, help="Show everything, with evidence.")
policy_option: Callable[[_F], _F] = click.option(
    "--policy", "policy_file", type=A_PATH, metavar="FILE", help="Other thresholds for the rules; see configs/policies."
)
fail_on_option: Callable[[_F], _F] = click.option(
    "--fail-on",
    metavar="info|warning|error|CODE",
    help="Exit with 3 if a finding of this severity or worse, or with this code, was made.",
)


def document(value: Mapping[str, Any]) -> None:
    """One strict JSON document on stdout: a number that JSON has no word for is null.

    Bytes of a file's name that are no text are marked.
    """
    click.echo(json.dumps(_strict(value), indent=2, ensure_ascii=False, allow_nan=False))


def lines(text: str) -> None:
    """The report, on stdout; click drops colours where nobody sees them."""
    click.echo(text)


def talk(text: str) -> None:
    """A remark for the person, on stderr."""
    click.echo(text, err=True)


def place(tracked: Tracked) -> str:
    """Where a tracked run is to be seen; a second line tells what to do for it, where it cannot be seen there yet."""
    first = plain(f"run {tracked.id}  {tracked.url or ''}").rstrip()
    return f"{first}\n    {plain(tracked.hint)}" if tracked.hint else first


def enforce(found: Iterable[Recommendation], bar: str | None) -> None:
    """End with exit code 3 when a finding meets the bar."""
    if bar is None:
        return
    met = at_or_above(found, bar)
    if met:
        talk(f"--fail-on {bar}: {', '.join(sorted({one.action for one in met}))}")
        sys.exit(FINDINGS)


def known_bar(bar: str | None, codes: Iterable[str]) -> None:
    """Refuse a `--fail-on` that is neither a severity nor a code, since it would never fail.

    Raises:
        click.BadParameter: it is neither.
    """
    known = {*(severity.value for severity in Severity), *codes}
    if bar is not None and bar not in known:
        words = ", ".join(sorted(known))
        raise click.BadParameter(f"{bar!r} is no severity and no code; one of {words}", param_hint="--fail-on")


def no_slip(bar: str | None, codes: Iterable[str]) -> None:
    """Refuse a `--fail-on` that is almost a severity or a code, where runs may bring codes of their own.

    Raises:
        click.BadParameter: it is one.
    """
    known = {*(severity.value for severity in Severity), *codes}
    meant = [] if bar is None or bar in known else get_close_matches(bar, known, n=1, cutoff=0.75)
    if meant:
        raise click.BadParameter(f"{bar!r} is no severity and no code; {meant[0]}?", param_hint="--fail-on")


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value
