"""A pre-flight check for the terminal: what was read, then the findings."""

from collections.abc import Sequence

from gradience.policy import check_rules
from gradience.policy.check import worst
from gradience.report import finding_text
from gradience.report.layout import heading, labelled
from gradience.report.numbers import number
from gradience.vnext.types import ConfigSnapshot, Recommendation, TaskProfile

NOTHING = "No findings. That does not show that the settings are good: a check knows only what it was given."


def render(config: ConfigSnapshot, found: Sequence[Recommendation], *, verbose: bool = False) -> str:
    """The three worst findings, or all of them with `verbose`."""
    shown = list(found) if verbose else worst(found)
    lines = [heading("Pre-flight check"), "", *_read(config)]
    for finding in shown:
        lines += ["", *finding_text.full(finding, evidence=verbose)]
    hidden = len(found) - len(shown)
    if hidden:
        lines += ["", f"{hidden} more: {', '.join(one.action for one in found[len(shown) :])} (--verbose shows them)"]
    return "\n".join(lines if found else [*lines, "", NOTHING])


def _read(config: ConfigSnapshot) -> list[str]:
    rows = {
        "model": config.model_name,
        "task": _task(config),
        "adapter": _adapter(config),
        "training": _training(config),
        "written for": _tool(config),
    }
    return [line for label, text in rows.items() if text for line in labelled(label, text)]


def _task(config: ConfigSnapshot) -> str:
    profile = "" if config.task_profile is TaskProfile.UNKNOWN else config.task_profile.value
    names = [config.dataset_name, config.extras.get("task"), profile]
    return ", ".join(dict.fromkeys(str(name) for name in names if name))


def _adapter(config: ConfigSnapshot) -> str:
    lora, scale = config.lora, check_rules.case(config).scale
    parts = [
        f"r={lora.r}" if lora.r is not None else "",
        f"alpha={number(lora.alpha)}" if lora.alpha is not None else "",
        f"scale {number(scale)}" if scale is not None else "",
        "rsLoRA" if lora.extras.get("use_rslora") is True else "",
        f"on {' '.join(sorted(lora.target_modules))}" if lora.target_modules else "",
    ]
    return ", ".join(part for part in parts if part)


def _scaled(config: ConfigSnapshot) -> str:
    """The learning rate times the scale: what Adam moves the update by, when either is changed alone."""
    case = check_rules.case(config)
    return "" if case.lr is None or case.scale is None else f" (x scale {case.lr * case.scale:.3g})"


def _tool(config: ConfigSnapshot) -> str:
    tool = config.training.extras.get("tool")
    return f"{tool}, whose defaults are filled in" if isinstance(tool, str) else ""


def _training(config: ConfigSnapshot) -> str:
    optimizer, training = config.optimizer, config.training
    accumulated = f" x {training.gradient_accumulation}" if (training.gradient_accumulation or 1) > 1 else ""
    parts = [
        optimizer.name or "",
        f"lr {optimizer.lr:g}{_scaled(config)}" if optimizer.lr is not None else "",
        f"weight decay {optimizer.weight_decay:g}" if optimizer.weight_decay is not None else "",
        f"batch {training.batch_size}{accumulated}" if training.batch_size is not None else "",
        f"{training.max_steps} steps" if training.max_steps is not None else "",
        f"{training.epochs:g} epochs" if training.epochs is not None else "",
        training.dtype or "",
    ]
    return ", ".join(part for part in parts if part)
