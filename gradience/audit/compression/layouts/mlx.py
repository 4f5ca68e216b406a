"""The two files of mlx-lm: one rank for all modules, and a scale that is no longer needed."""

import json
from collections.abc import Mapping
from typing import Final

from gradience.audit.compression import drafting
from gradience.audit.compression.drafting import FORMAT, Draft
from gradience.audit.disk import config
from gradience.audit.disk.adapter import Adapter
from gradience.audit.refusal import refuse
from gradience.audit.tensors import safetensors_file

NAME: Final = "mlx-lm"


def draft(found: Adapter, ranks: Mapping[str, int]) -> Draft:
    """The adapter with its modules at these ranks.

    Raises:
        AdapterError: they differ, and mlx-lm knows one.
    """
    files = found.files
    if len(set(ranks.values())) > 1:
        wrong = "mlx-lm has one rank for all modules"
        raise refuse(files.given, wrong, "give --rank or --energy", act="compress")
    fields = config.fields(files.config)
    rank = next(iter(ranks.values()))
    fields["lora_parameters"] = {**fields["lora_parameters"], "rank": rank, "scale": 1.0}
    slots = drafting.singles(found.modules, ranks)
    tensors = safetensors_file.header(files.weights)
    return Draft(
        weights="adapters.safetensors",  # the name that mlx-lm looks for; a checkpoint's has its step
        slots=slots,
        kept=drafting.rest(tensors, slots),
        metadata={**FORMAT, **safetensors_file.metadata(files.weights)},
        files={"adapter_config.json": json.dumps(fields, indent=4).encode()},
    )
