"""Inputs of rules, and the codes that they find in them: what the table of cases is written with."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import msgspec

from gradience.audit.record import AuditRecord
from gradience.evaluation.verification import Subject, Verification
from gradience.policy import advice, monitor, regression, verification
from gradience.policy.audit_rules import Run
from gradience.policy.check import check
from gradience.policy.detectors import Monitors
from gradience.settings import sources
from gradience.settings.snapshot import snapshot
from gradience.vnext.signals import SignalSnapshot
from gradience.vnext.types import ConfigSnapshot

MakeRecord = Callable[..., AuditRecord]
Codes = list[str]
Input = Callable[[MakeRecord], Codes]  # the codes that are found in it

SETTINGS: Final[Mapping[str, Any]] = {
    "lr": 2e-4, "r": 16, "lora_alpha": 32, "target_modules": "all-linear", "weight_decay": 0.01, "num_train_epochs": 2,
    "per_device_train_batch_size": 8, "eval_strategy": "steps", "load_best_model_at_end": True,
    "logging_nan_inf_filter": False, "model_name": "org/model-8B",
}  # fmt: skip
RUN: Final = SignalSnapshot(
    run_id="a", status="ok", ended=True, last_step=9, counts={"train_step": 9}, gap=1.2, gap_source="ppl"
)
ADAPTER: Final[Mapping[str, Sequence[float]]] = {
    f"layers.{i}.{kind}": [1.0 / (k + 1) ** 0.3 for k in range(16)] for i in range(4) for kind in ("q_proj", "up_proj")
}


def settings(**changed: Any) -> Input:
    """Sound settings, but for these."""
    return lambda _: [one.action for one in check(snapshot({**SETTINGS, **changed}))]


def peft(**fields: Any) -> Input:
    """An adapter_config.json with these fields, as it is read from a folder."""

    def found(_: MakeRecord) -> Codes:
        said = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], **fields}
        with TemporaryDirectory() as folder:
            (Path(folder) / "adapter_config.json").write_text(json.dumps(said), encoding="utf-8")
            return [one.action for one in check(ConfigSnapshot.from_dict(sources.adapter(Path(folder))))]

    return found


def adapter(
    spectra: Mapping[str, Sequence[float]] = ADAPTER,
    *,
    udr: Mapping[str, float] | None = None,
    intruders: Mapping[str, int] | None = None,
    training: Mapping[str, Any] | None = None,
    **info: Any,
) -> Input:
    """An adapter with these singular values; `udr` and `intruders` are those beside a base, `training` its run's."""

    def codes(make_record: MakeRecord) -> Codes:
        record = make_record(spectra, **info)
        modules = tuple(
            msgspec.structs.replace(one, udr=(udr or {}).get(one.name), intruders=(intruders or {}).get(one.name))
            for one in record.modules
        )
        found = advice.advise(
            msgspec.structs.replace(record, modules=modules),
            run=Run(config=snapshot(training or {})),
        )
        return [one.action for one in found.recommendations]

    return codes


def unmeasured(*names: str) -> Input:
    """An adapter with numbers that are not finite in these modules."""
    return lambda _: [one.action for one in advice.unmeasured(names, len(ADAPTER))]


def run(**changed: Any) -> Input:
    """What was read of a run that went well, but for this."""
    return lambda _: [one.action for one in monitor.monitor(msgspec.structs.replace(RUN, **changed))]


def events(happened: Sequence[tuple[str, int | None, dict[str, Any]]]) -> Input:
    """A run that is watched event by event."""

    def found(_: MakeRecord) -> Codes:
        monitors = Monitors()
        return [alert["code"] for event in happened for alert in monitors.observe(*event)]

    return found


def successor(**changed: Any) -> Input:
    """An adapter beside the one that it replaces: equal, but for these facts."""

    def found(make_record: MakeRecord) -> Codes:
        before = regression.of(make_record(ADAPTER))
        return [one.action for one in regression.judge(msgspec.structs.replace(before, **changed), before)]

    return found


def evaluated(verified: Literal["pass", "fail", "inconclusive"], compressed: float, error: float) -> Input:
    """An accuracy of 0.8 before compression, and what became of it."""
    subject = Subject(fingerprint=None, peft_dir="out/adapter", r=16, step=None)
    found = Verification(
        verified=verified,
        metric="accuracy",
        higher_is_better=True,
        original=0.8,
        compressed=compressed,
        delta=compressed - 0.8,
        standard_error=error,
        standard_error_from="examples",
        tolerance=0.004,
        tolerance_stated=False,
        repeats=1,
        n=1000,
        original_values=[0.8],
        compressed_values=[compressed],
        original_seconds=1.0,
        compressed_seconds=1.0,
        seeds=[0],
        command="python eval.py {adapter}",
        adapter=subject,
        compressed_adapter=msgspec.structs.replace(subject, r=4),
    )
    return lambda _: [one.action for one in verification.judge(found)]


def spectrum(r: int, needed: int) -> list[float]:
    """`needed` strong directions and a tail of noise, as trained adapters have."""
    return [math.exp(-k / 4) if k < needed else 0.01 for k in range(r)]
