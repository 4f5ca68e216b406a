"""What a run was meant to do, from Lightning's Trainer and its module."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gradience.recording import models

_SMALL: Final = (str, int, float, bool)
_UNLIMITED: Final = -1


def config(trainer: Any, module: Any) -> dict[str, Any]:
    """The nested shape of `ConfigSnapshot`, from adapter, optimiser, Trainer and hyperparameters, in this order."""
    hyperparameters = {key: value for key, value in _hyperparameters(module).items() if isinstance(value, _SMALL)}
    asked = {"max_steps": trainer.max_steps, "epochs": trainer.max_epochs}
    settings = {
        **hyperparameters,
        **{key: value for key, value in asked.items() if value not in (None, _UNLIMITED)},
        "gradient_accumulation": trainer.accumulate_grad_batches,
        "gradient_clip_val": trainer.gradient_clip_val,
        "precision": str(trainer.precision),
    }
    found = models.config(models.adapted(module), settings)
    optimizer = next(_optimizers(trainer), {})
    return {**found, "optimizer": {**(found.get("optimizer") or {}), **optimizer}}


def meta(trainer: Any, module: Any) -> dict[str, Any]:
    """What else tells one run from another: its directory, processes, parameters, quantisation."""
    model = models.adapted(module)
    quantization = models.quantized(model)
    return {
        "output_dir": str(trainer.default_root_dir),
        "world_size": trainer.world_size,
        "parameters": models.parameters(module),
        **({"quantization": quantization} if quantization else {}),
    }


def rates(trainer: Any) -> float | list[float] | None:
    """The learning rate as it is now: a number, or one for each group of the first optimiser."""
    for optimizer in trainer.optimizers[:1]:
        found = [float(group["lr"]) for group in optimizer.param_groups]
        return found[0] if len(set(found)) == 1 else found
    return None


def _hyperparameters(module: Any) -> Mapping[str, Any]:
    found = getattr(module, "hparams", None)
    return found if isinstance(found, Mapping) else {}


def _optimizers(trainer: Any) -> Iterator[dict[str, Any]]:
    for optimizer in trainer.optimizers:
        group = optimizer.param_groups[0]
        initial = group.get("initial_lr", group["lr"])  # a schedule has its own by now
        told = {key: group[key] for key in ("weight_decay", "betas", "eps") if key in group}
        yield {"name": type(optimizer).__name__, "lr": float(initial), **told}
