"""The records of `gradience.vnext.telemetry/v1`: events, the configuration they carry and what is read from them.

The JSON Schema that ships beside this file is generated from these classes. Within v1 nothing changes meaning:
fields are only ever added, each with a default.
"""

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, Final, Literal

import msgspec

SCHEMA: Final = "gradience.vnext.telemetry/v1"
ENVELOPE: Final = ("schema", "ts", "run_id", "event", "step")  # reserved: a payload never replaces these


class Severity(str, Enum):
    """How much an alert or a recommendation matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info up to 3 for critical, so that severities can be compared."""
        return list(Severity).index(self)


class RunStatus(str, Enum):
    """How a run ended."""

    OK = "ok"
    ABORTED = "aborted"
    ERROR = "error"


class TaskProfile(str, Enum):
    """Coarse kind of task, as the person who started the run names it."""

    EASY_CLASSIFICATION = "easy_classification"
    HARD_REASONING = "hard_reasoning"
    GENERATION = "generation"
    UNKNOWN = "unknown"


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """A group of settings; what it does not know by name goes to `extras`."""

    extras: dict[str, Any] = {}


class OptimizerConfigSnapshot(_Part, frozen=True, kw_only=True):
    """Optimiser settings."""

    name: str | None = None
    lr: float | None = None
    weight_decay: float | None = None
    betas: tuple[float, float] | None = None
    eps: float | None = None


class LoRAConfigSnapshot(_Part, frozen=True, kw_only=True):
    """Adapter settings, under PEFT's meaning of each name. `alpha_over_r` is derived when it is not given."""

    r: int | None = None
    alpha: float | None = None
    alpha_over_r: float | None = None
    target_modules: list[str] = []
    dropout: float | None = None
    bias: str | None = None

    def __post_init__(self) -> None:
        if self.alpha_over_r is None and self.alpha is not None and self.r:
            msgspec.structs.force_setattr(self, "alpha_over_r", self.alpha / self.r)


class TrainingConfigSnapshot(_Part, frozen=True, kw_only=True):
    """Training-loop settings that decide whether two runs can be compared."""

    seed: int | None = None
    batch_size: int | None = None
    gradient_accumulation: int | None = None
    max_steps: int | None = None
    epochs: float | None = None
    dtype: str | None = None


class ConfigSnapshot(_Part, frozen=True, kw_only=True):
    """What a run was meant to do, taken before its first step."""

    model_name: str | None = None
    dataset_name: str | None = None
    task_profile: TaskProfile = TaskProfile.UNKNOWN
    optimizer: OptimizerConfigSnapshot = OptimizerConfigSnapshot()
    lora: LoRAConfigSnapshot = LoRAConfigSnapshot()
    training: TrainingConfigSnapshot = TrainingConfigSnapshot()
    notes: str | None = None

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "ConfigSnapshot":
        """Read a configuration as people write it.

        Number-like strings are numbers. A value that does not fit its field, like a key that is not known, is kept
        in the nearest `extras`, so that nothing is lost and nothing raises.
        """
        return _fit(cls, config)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON-ready values."""
        builtins: dict[str, Any] = msgspec.to_builtins(self)
        return builtins


def _fit(kind: type[Any], given: Mapping[str, Any]) -> Any:
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    extras = dict(given["extras"]) if isinstance(given.get("extras"), Mapping) else {}
    known: dict[str, Any] = {}
    for key, value in given.items():
        if key == "extras" or value is None:
            continue
        try:
            known[key] = _fit_value(fields[key], value)
        except (KeyError, msgspec.ValidationError):
            extras[str(key)] = value
    return kind(**known, extras=extras)


def _fit_value(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, _Part) and isinstance(value, Mapping):
        return _fit(kind, value)
    return msgspec.convert(value, kind, strict=False)


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """The envelope of every line.

    `ts` is Unix seconds. `nonfinite` maps JSON Pointers to "NaN", "Infinity" or "-Infinity" for values that stand
    as null in strict JSON; a reader restores them.
    """

    name: ClassVar[str] = ""

    schema: Literal["gradience.vnext.telemetry/v1"] = SCHEMA
    ts: float
    run_id: str
    step: int | None = None
    nonfinite: dict[str, str] | None = None


class RunStart(Event, frozen=True, kw_only=True, tag="run_start"):
    """A run, or the resumption of one, begins. `config` has the shape of `ConfigSnapshot`."""

    name: ClassVar[str] = "run_start"

    config: dict[str, Any] = {}
    meta: dict[str, Any] = {}


class TrainStep(Event, frozen=True, kw_only=True, tag="train_step"):
    """One optimiser step, or the mean since the last one logged; any other key is a metric of the user's own."""

    name: ClassVar[str] = "train_step"

    loss: float | None = None
    lr: float | list[float | None] | None = None
    grad_norm: float | None = None


class Eval(Event, frozen=True, kw_only=True, tag="eval"):
    """One evaluation of one split; `accuracy` is 0..1, `n` counts examples, `ppl` is exp(mean token loss)."""

    name: ClassVar[str] = "eval"

    split: str = "unknown"
    metrics: dict[str, Any] = {}


class Metrics(Event, frozen=True, kw_only=True, tag="metrics"):
    """Measurements of one kind (`lora_audit`, `spectral`, ...)."""

    name: ClassVar[str] = "metrics"

    kind: str = "unknown"
    metrics: dict[str, Any] = {}


class Alert(Event, frozen=True, kw_only=True, tag="alert"):
    """Something happened that a person should know."""

    name: ClassVar[str] = "alert"

    severity: Severity = Severity.INFO
    code: str = ""
    message: str = ""
    context: dict[str, Any] = {}


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """A hypothesis worth testing. `action` is its code; `confidence` is 0..1; `test` would falsify it."""

    severity: Severity
    action: str
    message: str
    rationale: str | None = None
    confidence: float | None = None
    scope: str | None = None
    evidence: dict[str, Any] = {}
    hypothesis: str | None = None
    test: str | None = None
    limits: str | None = None


class RecommendationEvent(Event, frozen=True, kw_only=True, tag="recommendation"):
    """Advice from the mechanic."""

    name: ClassVar[str] = "recommendation"

    recommendations: list[Recommendation] = []


class RunEnd(Event, frozen=True, kw_only=True, tag="run_end"):
    """A run ended; `status` is one of `RunStatus` (readers take any string)."""

    name: ClassVar[str] = "run_end"

    status: str = "unknown"
    reason: str | None = None


class UnknownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A well-formed envelope whose event this version does not know, or whose payload does not fit its event."""

    event: str
    ts: float
    run_id: str
    step: int | None = None
    nonfinite: dict[str, str] | None = None

    @property
    def name(self) -> str:
        """The event's name as written."""
        return self.event


AnyEvent = RunStart | TrainStep | Eval | Metrics | Alert | RecommendationEvent | RunEnd


class EvalMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """The latest evaluation of one split; what has no field of its own is in `extras`."""

    loss: float | None = None
    ppl: float | None = None
    accuracy: float | None = None
    n: int | None = None
    step: int | None = None
    extras: dict[str, Any] = {}

    @property
    def perplexity(self) -> float | None:
        """`ppl` as logged, else exp(loss); None when neither is there or the exponential overflows."""
        if self.ppl is not None or self.loss is None:
            return self.ppl
        return math.exp(self.loss) if self.loss < 700 else None
