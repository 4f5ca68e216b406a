"""`gradience audit --baseline`: the adapter against the one that it is to replace."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from gradience import references
from gradience.audit.record import AuditRecord
from gradience.cli import audit_input
from gradience.cli.audit_input import Input
from gradience.cli.options import together
from gradience.cli.path import A_PLACE
from gradience.errors import InputError
from gradience.policy import regression
from gradience.policy.regression import Facts
from gradience.policy.rule import Policy, codes
from gradience.report import regression_text
from gradience.vnext.types import Recommendation

_LIMIT: Final = 256 << 20  # bytes of a saved audit


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """A field for each option."""

    baseline: str | None

    def codes(self) -> Iterator[str]:
        """What `--fail-on` may name because of it."""
        if self.baseline is not None:
            yield regression.FAMILY
            yield from codes(regression.RULES)


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides, and what is worse."""

    now: Facts
    before: Facts
    findings: list[Recommendation]

    def text(self) -> str:
        """A block to follow the report."""
        return "\n".join(regression_text.render(self.now, self.before, self.findings))

    def told(self) -> dict[str, Any]:
        """The same for the JSON document."""
        return {"baseline": msgspec.to_builtins(self.before), "regressions": msgspec.to_builtins(self.findings)}


options: Final = together(
    click.option(
        "--baseline",
        type=A_PLACE,
        metavar="DIR|REF|JSON",
        help="Compare with this adapter, or with what --json printed of it; see --fail-on regression.",
    ),
    title="What it is held against",
)


def check(gate: Gate, fail_on: str | None, *, several: bool) -> None:
    """Refuse options that do not go together, before any work is done.

    Raises:
        click.UsageError: they do not.
    """
    if gate.baseline is None and fail_on is not None and fail_on.startswith(regression.FAMILY):
        raise click.UsageError(f"--fail-on {fail_on} is about a baseline: give --baseline as well")
    if gate.baseline is not None and several:
        raise click.UsageError(
            "--baseline is held against one adapter, as text, csv or json: name that one with --peft-dir"
        )


def before(gate: Gate, asked: Input, tracker: str | None) -> Facts | None:
    """The facts of the baseline, before any work is done on the adapter itself.

    Raises:
        GradienceError: it cannot be audited, or is no saved audit.
    """
    if gate.baseline is None:
        return None
    place = references.fetch(gate.baseline, tracker=tracker)
    if place.folder.suffix == ".json":
        return regression.read(_content(place.folder), gate.baseline)
    return regression.of(audit_input.measure(place, msgspec.structs.replace(asked, base_model=None)))


def judge(record: AuditRecord, baseline: Facts | None, policy: Policy) -> Judged | None:
    """The adapter against its baseline, where one was given."""
    if baseline is None:
        return None
    now = regression.of(record)
    return Judged(now=now, before=baseline, findings=regression.judge(now, baseline, policy=policy))


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > _LIMIT:
            raise InputError(f"cannot compare with {file}: it is too large for a saved audit; check the path")
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot compare with {file}: it cannot be read ({error.strerror})") from error
