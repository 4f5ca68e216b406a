"""What a run was meant to do, from a Trainer's arguments and its model."""

from typing import Any

from gradience.recording import models


def config(arguments: Any, model: Any) -> dict[str, Any]:
    """The nested shape of `ConfigSnapshot`: the adapter's settings, and beneath them the arguments."""
    return models.config(model, arguments.to_dict())


def meta(arguments: Any, model: Any) -> dict[str, Any]:
    """What else tells one run from another: its directory and name, processes, parameters, quantisation."""
    found = {"output_dir": str(arguments.output_dir), "world_size": arguments.world_size, **models.meta(model)}
    if arguments.run_name and arguments.run_name != arguments.output_dir:
        found["run_name"] = arguments.run_name
    return found
