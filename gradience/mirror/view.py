"""What each event becomes in a tracker: the one owner of names.

Everything here is a pure function of the journal, so a line that is delivered twice says the same thing twice. The
part of a metric's name before its last slash is a section in the trackers' pages.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from gradience.evaluation import verification
from gradience.mirror import standing
from gradience.mirror.sink import Batch
from gradience.report.plain import plain
from gradience.vnext import codec
from gradience.vnext.nonfinite import name as spelling
from gradience.vnext.record import Record
from gradience.vnext.types import ENVELOPE, Alert, Eval, Metrics, RecommendationEvent, RunStart, TrainStep

Scalar = str | int | float | bool

RUN_ID_TAG: Final = "gradience.run_id"
CURSOR_TAG: Final = "gradience.cursor"
_RESERVED: Final = (RUN_ID_TAG, CURSOR_TAG)
_NONFINITE: Final = "gradience.nonfinite."

_UNFOLDED: Final = ("by_type",)  # a level of the audit that its children do without: lora_audit/attn/...
# Facts for an artifact, no curves: a value for each module or layer would be hundreds of charts.
_TABLES: Final = ("modules", "by_layer", "by_target", "adapter", "audit_version", "energy_level", "current_r")
# What the text of an audit has with --verbose only, or not at all: with a chart for each, nobody finds the loss.
_DETAILS: Final = (
    "participation_ratio_mean", "nuclear_rank_mean", "delta_nuclear_norm", "sigma_1_over_2_p50", "sigma_r_over_1_p50",
    "ab_norm_ratio_p50", "ab_imbalance_mean", "excess_norm_p50", "stable_rank_median", "stable_rank_weighted_mean",
    "energy_rank_p50", "delta_sigma_max_scaled_mean", "delta_sigma_max_scaled_p50", "delta_sigma_max_scaled_p90",
    "delta_frob_norm_scaled_mean", "delta_frob_norm_scaled_p50", "delta_frob_norm_scaled_p90",
    "suggested_r_global_median", "suggested_r_global_90", "n_layers_with_udr", "udr_mean", "udr_f_mean",
    "sdi_mean", "sdi_p90", "fraction_udr_gt_0_1", "fraction_udr_gt_0_3",
)  # fmt: skip
_VERIFIED: Final = ("original", "compressed", "delta", "standard_error", "tolerance")
_COMPRESSION: Final = "compression"  # what was kept of the whole is enough for charts
_LEFT_OUT: Final = {
    "lora_audit": frozenset((*_TABLES, *_DETAILS)),
    _COMPRESSION: frozenset(
        ("adapter", "compressed_adapter", "params", "params_left", "uniform", "worst_error", "by_type")
    ),
    verification.KIND: frozenset(verification.Verification.__struct_fields__) - frozenset(_VERIFIED),
}
VERIFIED_DELTA: Final = "lora_audit/verified_delta"  # beside the suggestion that it is about
_NOTHING: Final[frozenset[str]] = frozenset()
_NO_NAMES: Final[Mapping[str, str]] = {}
_COLONS: Final = 5  # one after each key of the envelope
_STEP_KEYS: Final = frozenset((*ENVELOPE, *TrainStep.__struct_fields__))


class Point(msgspec.Struct, frozen=True, gc=False):
    """One finite value of one metric; `ts` is Unix seconds, `step` is 0 for an event that has none."""

    key: str
    value: float
    step: int
    ts: float


class Row(msgspec.Struct, frozen=True, gc=False):
    """The numbers of one line by their metrics, those that are not finite among them; many lines have none."""

    record: Record
    values: dict[str, float]


def points(record: Record) -> list[Point]:
    """The metric points of a line; lists, text and non-finite values are none."""
    step, ts = record.event.step or 0, record.event.ts
    return [Point(key, value, step, ts) for key, value in _values(record) if math.isfinite(value)]


def rows(batch: Batch) -> Iterator[Row]:
    """Every number of a batch, line by line; `alerts/<severity>` is how many alerts the run had by then.

    Metrics have the names that the batch gives them.
    """
    counts, names = dict(batch.alerts), batch.names
    for record in batch.records:
        values = dict(_values(record))
        event = record.event
        if isinstance(event, Alert):
            severity = event.severity.value
            counts[severity] = counts.get(severity, 0) + 1
            values[f"alerts/{severity}"] = float(counts[severity])
        yield Row(record, {names.get(key, key): value for key, value in values.items()} if names else values)


def batch_points(batch: Batch) -> list[Point]:
    """Every point of a batch."""
    return [
        Point(key, value, row.record.event.step or 0, row.record.event.ts)
        for row in rows(batch)
        for key, value in row.values.items()
        if math.isfinite(value)
    ]


def params(record: Record) -> dict[str, Scalar]:
    """Configuration and, under `meta.`, the surroundings of a `run_start`, flattened with dots; None is left out."""
    event = record.event
    if not isinstance(event, RunStart):
        return {}
    return {**flat(event.config), **flat(event.meta, "meta")}


def flat(tree: Mapping[str, Any], root: str = "") -> dict[str, Scalar]:
    """The leaves of a tree of settings by their paths, with dots; None is left out."""
    return dict(_leaves(root, tree))


def nonfinite(record: Record) -> dict[str, str]:
    """The metrics of a line that are no finite number: their names with "NaN", "Infinity" or "-Infinity"."""
    if record.event.nonfinite is None:
        return {}
    return {key: spelling(value) for key, value in _values(record) if not math.isfinite(value)}


def tags(record: Record, names: Mapping[str, str] = _NO_NAMES) -> dict[str, str]:
    """The tags of a line taken alone, each one printable line; `batch_tags` knows which of them still stand."""
    event = record.event
    if isinstance(event, Alert):
        said = f"{event.severity.value}{_at(event.step)}: {event.message}"
        return {plain(f"gradience.alert.{event.code or 'unnamed'}"): plain(said)}
    if isinstance(event, RecommendationEvent):
        return _advice_tags(record)
    broken = {names.get(key, key): kind for key, kind in nonfinite(record).items()}
    return {plain(f"{_NONFINITE}{key}"): f"{kind}{_at(event.step)}" for key, kind in broken.items()}


def batch_tags(batch: Batch) -> dict[str, str]:
    """The tags that a batch leaves on its run.

    The first non-finite value of a metric keeps its tag, and advice about an older step never replaces advice about a
    newer one.
    """
    found = {RUN_ID_TAG: batch.records[0].event.run_id}
    seen = {plain(f"{_NONFINITE}{batch.names.get(key, key)}") for key in batch.nonfinite}
    advice = standing.advice(batch)
    for record in batch.records:
        if record is not advice and standing.is_advice(record):
            continue
        fresh = {key: value for key, value in tags(record, batch.names).items() if key not in seen}
        seen.update(key for key in fresh if key.startswith(_NONFINITE))
        found.update(fresh)
    return {**found, **standing.verified_tags(batch)}


def adapter_tags(batch: Batch, *, is_alone: bool = False) -> dict[str, str]:
    """The tags of a batch that are about an adapter: advice and verification; empty where it brings neither.

    They are those that stand on the run. Where something holds this adapter alone, what stands on the run of another
    one does not matter.
    """
    batch = msgspec.structs.replace(batch, advised=None) if is_alone else batch
    advice = standing.advice(batch)
    return {**({} if advice is None else tags(advice)), **standing.verified_tags(batch)}


def _values(record: Record) -> Iterable[tuple[str, float]]:
    event = record.event
    if isinstance(event, TrainStep):
        return _step_values(record, event)
    if isinstance(event, Eval):
        return _numbers(f"eval/{event.split}", event.metrics)
    if isinstance(event, Metrics):
        return [*_numbers(event.kind, event.metrics, _LEFT_OUT.get(event.kind, _NOTHING)), *_verified_delta(event)]
    return ()


def _verified_delta(event: Metrics) -> Iterator[tuple[str, float]]:
    """Once more under the name that stands beside the advice."""
    delta = event.metrics.get("delta")
    if event.kind == verification.KIND and isinstance(delta, int | float):
        yield VERIFIED_DELTA, _float(delta)


def _step_values(record: Record, event: TrainStep) -> list[tuple[str, float]]:
    found = []
    if event.loss is not None:
        found.append(("train/loss", event.loss))
    if isinstance(event.lr, float):
        found.append(("train/lr", event.lr))
    elif event.lr is not None:
        found.extend(_learning_rates(event.lr))
    if event.grad_norm is not None:
        found.append(("train/grad_norm", event.grad_norm))
    if _may_have_extras(record.raw, event):
        for key, value in codec.decode_mapping(record.raw).items():
            if key not in _STEP_KEYS:
                found.extend(_numbers(f"train/{key}", value))
    return found


def _learning_rates(lr: list[float | None]) -> Iterator[tuple[str, float]]:
    """`train/lr_<n>` for each parameter group, `train/lr` for an only one."""
    for index, value in enumerate(lr):
        if value is not None:
            yield "train/lr" if len(lr) == 1 else f"train/lr_{index}", value


def _may_have_extras(raw: bytes, event: TrainStep) -> bool:
    """Whether a line may hold keys that its type does not name, told without decoding it.

    A key brings a colon, and so may text: the count is never too low, and a line that is too rich is only decoded.
    """
    if event.step is None or b'"schema":' not in raw:
        return True
    known = (event.loss is not None) + (event.lr is not None) + (event.grad_norm is not None)
    return raw.count(b":") != _COLONS + known


def _numbers(key: str, value: Any, left_out: frozenset[str] = _NOTHING) -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float):
        yield key, _float(value)
    elif isinstance(value, Mapping):
        for name, child in value.items():
            if name not in left_out:
                yield from _numbers(key if name in _UNFOLDED else f"{key}/{name}", child, left_out)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # JSON integers have no bound
        return math.copysign(math.inf, value)


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, Mapping):
        for name, child in value.items():
            yield from _leaves(f"{key}.{name}" if key else str(name), child)
    elif isinstance(value, float) and not math.isfinite(value):
        yield key, spelling(value)
    elif isinstance(value, str | int | float):
        yield key, value
    elif value is not None:
        yield key, json.dumps(value)


def _advice_tags(record: Record) -> dict[str, str]:
    extras = {plain(f"gradience.{key}"): _text(value) for key, value in record.extras.items()}
    found = {key: text for key, text in extras.items() if text is not None and key not in _RESERVED}
    if "gradience.verdict" in found and record.event.step is not None:
        found[standing.ADVICE_STEP_TAG] = str(record.event.step)
    return found


def _text(value: Any) -> str | None:
    """A tag's text; None for what no tag should hold."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return plain(",".join(map(str, value))) if all(isinstance(item, str | int) for item in value) else None
    return plain(value) if isinstance(value, str | int) else None


def _at(step: int | None) -> str:
    return "" if step is None else f" at step {step}"
