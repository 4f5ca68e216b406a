"""The records of `gradience.vnext.telemetry/v1`: events, the configuration they carry and what is read from them.

The JSON Schema that ships beside this file is generated from these classes. Within v1 nothing changes meaning:
fields are only ever added, each with a default.
"""

import math
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from gradience.vnext.config import (
    ConfigSnapshot,
    LoRAConfigSnapshot,
    OptimizerConfigSnapshot,
    TaskProfile,
    TrainingConfigSnapshot,
)

__all__ = [
    "ENVELOPE",
    "SCHEMA",
    "Alert",
    "AnyEvent",
    "ConfigSnapshot",
    "Eval",
    "EvalMetrics",
    "Event",
    "LoRAConfigSnapshot",
    "Metrics",
    "OptimizerConfigSnapshot",
    "Recommendation",
    "RecommendationEvent",
    "RunEnd",
    "RunStart",
    "RunStatus",
    "Seal",
    "Severity",
    "Step",
    "TaskProfile",
    "TrainStep",
    "TrainingConfigSnapshot",
    "UnknownEvent",
]

SCHEMA: Final = "gradience.vnext.telemetry/v1"
ENVELOPE: Final = ("schema", "ts", "run_id", "event", "step")  # reserved: a payload never replaces these

Step = Annotated[int, msgspec.Meta(ge=0)]


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


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """The envelope of every line.

    `ts` is Unix seconds. `nonfinite` maps JSON Pointers to "NaN", "Infinity" or "-Infinity" for values that stand
    as null in strict JSON; a reader restores them.
    """

    name: ClassVar[str] = ""

    schema: Literal["gradience.vnext.telemetry/v1"]
    ts: float
    run_id: str
    step: Step | None = None
    nonfinite: dict[str, str] | None = None


class RunStart(Event, frozen=True, kw_only=True, tag="run_start"):
    """A run, or the resumption of one, begins. `config` has the shape of `ConfigSnapshot`."""

    name: ClassVar[str] = "run_start"

    config: dict[str, Any]
    meta: dict[str, Any] = {}


class TrainStep(Event, frozen=True, kw_only=True, gc=False, tag="train_step"):
    """One optimiser step, or the mean since the last one logged; any other key is a metric of the user's own."""

    name: ClassVar[str] = "train_step"

    loss: float | None = None
    lr: float | list[float | None] | None = None
    grad_norm: float | None = None


class Eval(Event, frozen=True, kw_only=True, tag="eval"):
    """One evaluation of one split; `accuracy` is 0..1, `n` counts examples, `ppl` is exp(mean token loss)."""

    name: ClassVar[str] = "eval"

    split: str
    metrics: dict[str, Any]


class Metrics(Event, frozen=True, kw_only=True, tag="metrics"):
    """Measurements of one kind (`lora_audit`, `spectral`, ...)."""

    name: ClassVar[str] = "metrics"

    kind: str
    metrics: dict[str, Any]


class Alert(Event, frozen=True, kw_only=True, tag="alert"):
    """Something happened that a person should know."""

    name: ClassVar[str] = "alert"

    severity: Severity
    code: str
    message: str
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

    recommendations: list[Recommendation]


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """The first `lines` of a file, every byte of them: `head -n LINES FILE | sha256sum` prints `sha256`."""

    lines: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str


class RunEnd(Event, frozen=True, kw_only=True, tag="run_end"):
    """A run ended; `status` is one of `RunStatus` (readers take any string). `seal` is of the lines before this one."""

    name: ClassVar[str] = "run_end"

    status: str
    reason: str | None = None
    seal: Seal | None = None


class UnknownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A well-formed envelope whose event this version does not know, or whose payload cannot be read as its event's."""

    event: str
    ts: float
    run_id: str
    step: Step | None = None
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
