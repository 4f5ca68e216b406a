"""A verification for the terminal: both numbers, how far they are apart, and what that shows."""

from collections.abc import Sequence
from typing import Final

import click

from gradience.evaluation.paired import BASES
from gradience.evaluation.verification import Subject, Verification
from gradience.report import finding_text
from gradience.report.layout import heading, labelled
from gradience.report.numbers import duration, number, percent
from gradience.report.plain import plain
from gradience.vnext.types import Recommendation

COLOURS: Final = {"pass": "green", "fail": "red", "inconclusive": "magenta"}


def render(found: Verification, findings: Sequence[Recommendation]) -> str:
    """The whole result; where nothing was found, what that shows."""
    lines = [f"{heading('Verification')} {plain(found.metric)}, {_direction(found)} is better", "", *rows(found), ""]
    shown = [line for one in findings for line in finding_text.full(one)]
    return "\n".join([*lines, *(f"  {line}" for line in (shown or _passed(found)))])


def rows(found: Verification) -> list[str]:
    """The numbers, a line each."""
    lines = [line for label, text in facts(found).items() for line in labelled(label, text)]
    return [*lines, f"  {'verdict':<12}{outcome(found)}"]


def facts(found: Verification) -> dict[str, str]:
    """The same in words, by what each is."""
    return {
        "original": f"{number(found.original)}  {_adapter(found.adapter)}, {duration(found.original_seconds)}",
        "compressed": f"{number(found.compressed)}  {_adapter(found.compressed_adapter)}, "
        f"{duration(found.compressed_seconds)}",
        "difference": f"{found.delta:+.3g}{_noise(found)}",
        "tolerance": f"{number(found.tolerance)} ({_tolerance(found)})",
    }


def outcome(found: Verification) -> str:
    """The verdict as a coloured word."""
    return click.style(found.verified, fg=COLOURS[found.verified], bold=True)


def _direction(found: Verification) -> str:
    return "higher" if found.higher_is_better else "lower"


def _adapter(adapter: Subject) -> str:
    return f"r={adapter.r} {adapter.peft_dir}"


def _noise(found: Verification) -> str:
    told = f", {found.n} examples" if found.n else ""
    repeats = f", {found.repeats} repeats" if found.repeats > 1 else ""
    if found.standard_error is None:
        return f" (standard error {BASES['none']}{told}{repeats})"
    return f" +- {found.standard_error:.2g} ({BASES[found.standard_error_from]}{told}{repeats})"


def _tolerance(found: Verification) -> str:
    if found.tolerance_stated:
        return "as stated"
    if found.tolerance == found.standard_error:
        return "by default one standard error"
    share = found.tolerance / abs(found.original) if found.original else 0.0
    return f"by default {percent(share)} of the original"


def _passed(found: Verification) -> list[str]:
    most = max(0.0, found.drop) + (found.standard_error or 0.0)
    shown = f"cut to rank {found.compressed_adapter.r}, {plain(found.metric)} is not worse by more than the tolerance"
    doubt = f"; within one standard error the drop is at most {number(most)}" if found.standard_error else ""
    limits = "this evaluation and these examples; another task may need what was cut off"
    return [*labelled("shown", f"{shown}{doubt}.", width=12), *labelled("limits", f"{limits}.", width=12)]
