"""Recorded runs side by side for the terminal: one row each, then the settings in which they differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gradience.report import runs
from gradience.report.layout import block, heading, labelled, table
from gradience.report.numbers import MISSING, number
from gradience.report.runs import Run
from gradience.vnext.types import Severity

HEADER: Final = ("run", "status", "step", "train loss", "lowest")
SPLITS_SHOWN: Final = 3
SETTINGS_SHOWN: Final = 40
VALUE_WIDTH: Final = 28


def render(found: Sequence[Run]) -> str:
    """The whole comparison."""
    known = [one for one in found if one.error is None]
    files = [one.file for one in known]
    names = dict(zip(files, short(files), strict=True))
    splits = list(dict.fromkeys(split for one in known for split in one.evals))[:SPLITS_SHOWN]
    header, rows = table_of({names[one.file]: one for one in known}, splits)
    broken = [line for one in found if one.error for line in labelled("-", f"{one.error}", width=2)]
    lines = [heading(f"{len(known)} runs"), *(table(header, rows, left=2) if rows else [])]
    lines += _settings(known, names)
    lines += block("Could not be read", broken) if broken else []
    return "\n".join(lines)


def table_of(named: Mapping[str, Run], splits: Sequence[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The header and the rows of runs by their names, with the best evaluation of these splits."""
    header = (*HEADER, *(f"best {one}" for one in splits), "alerts", "verdict", "worst finding")
    return header, [(name, *_cells(one, splits)) for name, one in named.items()]


def short(files: Sequence[str]) -> list[str]:
    """The files' names without the folders that all of them share, and without a last part that is the same in all."""
    parts = [Path(file).parts for file in files]
    longest = min(map(len, parts), default=1) - 1
    while any(one[:longest] != parts[0][:longest] for one in parts):
        longest -= 1
    own = [one[longest:] for one in parts]
    is_same_end = len(own) > 1 and all(len(one) > 1 for one in own) and len({one[-1] for one in own}) == 1
    return [str(Path(*(one[:-1] if is_same_end else one))) for one in own]


def _cells(one: Run, splits: Sequence[str]) -> tuple[str, ...]:
    best = one.best_train_loss
    return (
        one.status or "no end",
        _step(one),
        number(one.train_loss),
        MISSING if best is None else f"{number(best)} @ {one.best_train_loss_step}",
        *(_eval(one, split) for split in splits),
        _alerts(one),
        one.verdict or MISSING,
        f"{one.worst_severity.value} {one.worst}" if one.worst and one.worst_severity else MISSING,
    )


def _step(one: Run) -> str:
    if one.step is None:
        return MISSING
    return f"{one.step} of {one.planned_steps}" if one.planned_steps else str(one.step)


def _eval(one: Run, split: str) -> str:
    best = one.evals.get(split)
    if best is None:
        return MISSING
    metric = "" if best.metric == "loss" else f"{best.metric} "
    return f"{metric}{number(best.value)} @ {best.step}"


def _alerts(one: Run) -> str:
    counted = ((level.value, one.alerts.get(level.value, 0)) for level in reversed(Severity))
    return ", ".join(f"{count} {level}" for level, count in counted if count) or MISSING


def _settings(known: Sequence[Run], names: dict[str, str]) -> list[str]:
    differing = runs.differing(known)
    if len(known) < 2 or not any(one.config for one in known):
        return []
    if not differing:
        return block("Settings", ["  the same in all"])
    rows = [(key, *map(_value, values)) for key, values in list(differing.items())[:SETTINGS_SHOWN]]
    more = len(differing) - len(rows)
    rest = [f"  and {more} more (--json shows all)"] if more else []
    return block("Settings that differ", [*table(("setting", *(names[one.file] for one in known)), rows), *rest])


def _value(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    text = MISSING if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= VALUE_WIDTH else f"{text[: VALUE_WIDTH - 3]}..."
