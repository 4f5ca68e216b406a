"""The configuration of a run, as its first event carries it: what it was meant to do, taken before its first step."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

import msgspec

_P = TypeVar("_P", bound="_Part")


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


def _fit(kind: type[_P], given: Mapping[str, Any]) -> _P:
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    extras: dict[str, Any] = {}
    known: dict[str, Any] = {}
    for key, value in given.items():
        if value is None:
            continue
        if key == "extras" and isinstance(value, Mapping):
            extras.update(value)
            continue
        try:
            known[key] = _fit_value(fields[key], value)
        except (KeyError, msgspec.ValidationError):
            extras[str(key)] = value
    return kind(**known, extras=extras)


def _fit_value(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, _Part) and isinstance(value, Mapping):
        return _fit(kind, value)
    return msgspec.convert(value.strip() if isinstance(value, str) else value, kind, strict=False)
