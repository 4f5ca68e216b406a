"""Comparisons of adapters for the terminal: of two together, by type and by module; of more the pairs alone."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import combinations
from math import isqrt
from typing import Final

from gradience.audit.compared import Comparison, ModuleComparison, PooledComparison
from gradience.audit.record import AdapterInfo
from gradience.errors import InputError
from gradience.report.layout import block, heading, labelled, table
from gradience.report.numbers import fixed, number, percent
from gradience.report.plain import plain

TYPE_COLUMNS: Final = ("type", "modules", "cosine", "|A-B|/|A|", "|A|", "|B|", "left overlap", "right overlap")
PAIR_COLUMNS: Final = ("pair", *TYPE_COLUMNS[1:], "not in both")
MODULE_COLUMNS: Final = (
    "module", "r A/B", "cosine", "|A-B|/|A|", "|A|", "|B|", "k A/B", "left overlap", "right overlap",
)  # fmt: skip
NAMES_SHOWN: Final = 3


def select(found: Comparison, *, glob: str | None = None, top: int | None = None) -> list[ModuleComparison]:
    """The modules whose whole names match, in the order of the first adapter; or the `top` ones farthest apart.

    Raises:
        InputError: none matches.
    """
    rows = [one for one in found.modules if glob is None or fnmatchcase(one.name, glob)]
    if not rows:
        first = plain(found.modules[0].name)
        raise InputError(
            f"cannot show modules that match {glob!r}: none of {len(found.modules)} does; the first is {first}"
        )
    return rows if top is None else sorted(rows, key=lambda one: (-one.distance, one.name))[:top]


def render(found: Comparison, rows: Sequence[ModuleComparison]) -> str:
    """The whole report; `rows` are the modules to show."""
    shown = f"Modules, {len(rows)} of {len(found.modules)}"
    noted = [line for issue in notes(found) for line in labelled("-", issue, width=2)]
    lines = [
        heading("LoRA comparison"),
        "",
        *labelled("A", adapter(found.a), width=4),
        *labelled("B", adapter(found.b), width=4),
        *block("Updates of the modules that both adapt", table(TYPE_COLUMNS, type_rows(found))),
        *(block(shown, table(MODULE_COLUMNS, module_rows(rows))) if rows else []),
        *(block("Notes", noted) if noted else []),
    ]
    return "\n".join(lines)


def pairs(found: Sequence[Comparison]) -> str:
    """Every pair of more than two adapters."""
    letters = lettered(found)
    lines = [
        heading(f"LoRA comparison of {len(letters)} adapters"),
        "",
        *(line for name, info in letters.items() for line in labelled(name, adapter(info), width=4)),
        *block("Updates of the modules that both of a pair adapt", table(PAIR_COLUMNS, pair_rows(found))),
    ]
    return "\n".join(lines)


def lettered(found: Sequence[Comparison]) -> dict[str, AdapterInfo]:
    """The adapters of all pairs, which stand in order, by a short name each: A to Z, then numbers."""
    count = (1 + isqrt(1 + 8 * len(found))) // 2  # of which there are count * (count - 1) / 2 pairs
    adapters = [found[0].a, *(one.b for one in found[: count - 1])]
    return {chr(65 + index) if index < 26 else str(index + 1): info for index, info in enumerate(adapters)}


def pair_rows(found: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """A row for each pair; of what only one of them has the count."""
    names = list(combinations(lettered(found), 2))
    return [
        (*_type(f"{a} {b}", one.overall), str(len(one.only_in_a) + len(one.only_in_b) + len(one.other_shapes)))
        for (a, b), one in zip(names, found, strict=True)
    ]


def type_rows(found: Comparison) -> list[tuple[str, ...]]:
    """All modules together, and each type where there are several."""
    types = [("all", found.overall), *(found.by_type.items() if len(found.by_type) > 1 else ())]
    return [_type(*row) for row in types]


def module_rows(rows: Sequence[ModuleComparison]) -> list[tuple[str, ...]]:
    """A row for each module."""
    return [_module(one) for one in rows]


def notes(found: Comparison) -> list[str]:
    """What was not compared, and what has to be known of the rest."""
    return [*_unmatched(found), *found.issues]


def adapter(info: AdapterInfo) -> str:
    """Which adapter it is, on one line."""
    step = "" if info.step is None else f", step {info.step}"
    return f"{info.peft_dir}  (r={info.r} alpha={number(info.lora_alpha)}{step})"


def _type(name: str, pooled: PooledComparison) -> tuple[str, ...]:
    return (
        name,
        str(pooled.n_modules),
        _cosine(pooled.cosine),
        percent(pooled.relative_distance),
        number(pooled.norm_a),
        number(pooled.norm_b),
        fixed(pooled.left_overlap_mean),
        fixed(pooled.right_overlap_mean),
    )


def _module(one: ModuleComparison) -> tuple[str, ...]:
    return (
        one.name,
        f"{one.r_a}/{one.r_b}",
        _cosine(one.cosine),
        percent(one.relative_distance),
        number(one.norm_a),
        number(one.norm_b),
        f"{one.k_a}/{one.k_b}",
        fixed(one.left_overlap),
        fixed(one.right_overlap),
    )


def _cosine(value: float | None) -> str:
    """Four decimals; what is not quite 1 never reads as if it were."""
    if value is None:
        return number(value)
    text = f"{value:.4f}"
    return "0.9999" if text == "1.0000" and value < 1 - 1e-9 else text


def _unmatched(found: Comparison) -> list[str]:
    lists = {"A": found.only_in_a, "B": found.only_in_b}
    only = [f"only in {which}: {_named(names)}" for which, names in lists.items() if names]
    shapes = [f"{one.name} ({_shape(one.shape_a)} and {_shape(one.shape_b)})" for one in found.other_shapes]
    return [*only, *([f"of another shape, so not compared: {_named(shapes)}"] if shapes else [])]


def _shape(shape: tuple[int, int]) -> str:
    return "x".join(map(str, shape))


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{len(names)} modules: {', '.join(names[:NAMES_SHOWN])}{more}"
