"""The adapter before training, subtracted from the adapter after it: B @ A - B0 @ A0 is what training changed.

PiSSA and its kin cut a piece out of the base weights and start from it, so that B @ A alone holds that piece too.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from gradience.audit.disk import trainer
from gradience.audit.disk.folder import CONVERTED, Files
from gradience.audit.disk.module import Module
from gradience.audit.disk.trainer import CONFIG
from gradience.audit.refusal import listed, quoted, refuse

_USUAL = "pissa_init"  # LLaMA-Factory's, in the directory of the run
_MEND = (
    "give the adapter as it was before training (--initial DIR), or save with"
    " `path_initial_model_for_weight_conversion`, so that PEFT writes the true difference"
)


def beside(files: Files) -> Path:
    """The initial adapter that LLaMA-Factory left in the directory of the run: the adapter's, or a checkpoint's parent.

    Raises:
        AdapterError: there is none.
    """
    here = files.config.parent
    above = [here.resolve().parent / _USUAL] if trainer.is_checkpoint(here.resolve()) else []
    for folder in (here / _USUAL, *above):
        if (folder / CONFIG).is_file():
            return folder
    wrong = "its initialisation cut a piece out of the base weights, which B @ A still holds"
    is_converted = (here / CONVERTED / CONFIG).is_file()
    raise refuse(files.config, wrong, f"audit {here / CONVERTED}" if is_converted else _MEND)


def modules(start: Files, after: Sequence[Module], before: Sequence[Module]) -> tuple[Module, ...]:
    """`after` less `before`, module by module, each of the rank of both together.

    Raises:
        AdapterError: they are not the modules of one training run.
    """
    begun = {module.name: module for module in before}
    if strange := sorted(begun.keys() ^ {module.name for module in after}):
        raise refuse(start.given, f"it has other modules than the adapter ({listed(strange)})", _MEND)
    return tuple(_difference(start, module, begun[module.name]) for module in after)


def issue(start: Files) -> str:
    """The note that says what was measured."""
    return f"initial: measured is B @ A less that of {quoted(start.given)}, so ranks are up to twice the trained one"


def _difference(start: Files, after: Module, before: Module) -> Module:
    shape = (after.r, after.in_features, after.out_features, after.scale)
    if shape != (before.r, before.in_features, before.out_features, before.scale):
        wrong = f"{quoted(after.name)} has another rank, scale or shape there than in the adapter"
        raise refuse(start.given, wrong, "give the adapter that this training run began with")
    less = [msgspec.structs.replace(product, weight=-product.weight) for product in before.products]
    return msgspec.structs.replace(after, r=after.r + before.r, products=(*after.products, *less))
