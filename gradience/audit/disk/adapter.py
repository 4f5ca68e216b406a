"""What is on disk: the modules of an adapter with the places of their factors, their exact ranks and scales.

Nothing here imports torch. What is returned has an update that follows from its factors; everything else was refused by
name.
"""

import math
from itertools import pairwise
from os import PathLike
from pathlib import Path

import msgspec

from gradience.audit.disk import assembly, config, difference, digest, experts, folder, foreign, keys
from gradience.audit.disk.assembly import Assembled
from gradience.audit.disk.config import LoraConfig
from gradience.audit.disk.folder import Files
from gradience.audit.disk.keys import Keys
from gradience.audit.disk.module import CONV, EXPERT, Module
from gradience.audit.record import AdapterInfo
from gradience.audit.refusal import listed, quoted, refuse
from gradience.audit.tensors import safetensors_file, torch_file
from gradience.audit.tensors.safetensors_file import Tensor

_LARGEST = 1 << 30  # numbers of a factor: rank 4096 for a vocabulary of 2**18; a file full of holes promises any size


class Adapter(msgspec.Struct, frozen=True, kw_only=True):
    """An adapter that can be audited, its modules in natural order of their paths.

    `issues` say, each after its code, what the factors leave out.
    """

    files: Files
    info: AdapterInfo
    modules: tuple[Module, ...]
    initial: Files | None = None  # those of the adapter before training, which is subtracted
    issues: tuple[str, ...] = ()


def load(path: str | PathLike[str], *, initial: str | PathLike[str] | None = None) -> Adapter:
    """Read the config and the header of the adapter in the directory `path`; no factor is read yet.

    `initial` is the adapter as it was when training began, to be subtracted; one whose initialisation changed the base
    weights needs it, and it is looked for where LLaMA-Factory puts it.

    Raises:
        AdapterError: there is no adapter, or its update does not follow from its factors.
    """
    files = folder.find(path, unconverted=initial is not None)
    if files.layout is not None and initial is not None:
        raise refuse(initial, f"the adapter is one of {files.layout}", "only PEFT's can have an initial adapter")
    if files.layout is not None:
        return _checked(_foreign(files, files.layout))
    settings = config.read(files.config)
    if initial is None and settings.changes_base:
        initial = difference.beside(files)
    loaded = _load(files, settings)
    return _checked(loaded if initial is None else _less(loaded, initial))


def identify(path: str | PathLike[str]) -> AdapterInfo:
    """What the adapter in the directory `path` says about itself, and its hash; also one that could not be audited.

    Raises:
        AdapterError: there is no adapter, or one of another kind than LoRA.
    """
    files = folder.find(path, unconverted=True)
    info = _info(files, config.read(files.config), ()) if files.layout is None else _foreign(files, files.layout).info
    return msgspec.structs.replace(info, fingerprint=digest.of(files))


def tensors(weights: Path) -> dict[str, Tensor]:
    """Everything that PEFT's weights file holds, by key; no number is read yet.

    Raises:
        AdapterError: it is not whole, or not what it should be.
    """
    if weights.suffix == ".safetensors":
        return safetensors_file.header(weights)
    return torch_file.header(weights)


def _checked(found: Adapter) -> Adapter:
    """The same; everything later knows a module by its name, and takes the memory of the largest factor."""
    twice = [one.name for one, next_one in pairwise(found.modules) if one.name == next_one.name]
    if twice:
        wrong = f"factors under different keys are those of the same module ({listed(twice)})"
        raise refuse(found.files.weights, wrong, "save the adapter again")
    factors = {tensor.key: tensor for module in found.modules for tensor in module.tensors}
    if huge := [key for key, tensor in factors.items() if math.prod(tensor.shape) > _LARGEST]:
        wrong = f"factors have more numbers than those of any layer ({listed(huge)})"
        raise refuse(found.files.weights, wrong, "check that it is a LoRA adapter's file")
    return found


def _foreign(files: Files, layout: str) -> Adapter:
    found = foreign.LAYOUTS[layout].read(files.weights)
    step = files.step if found.info.step is None else found.info.step
    info = msgspec.structs.replace(found.info, peft_dir=files.given, step=step)
    return Adapter(files=files, info=info, modules=found.modules, issues=(*found.issues, *_elsewhere(files)))


def _load(files: Files, settings: LoraConfig) -> Adapter:
    found = keys.sort(files.weights, tensors(files.weights))
    _check_magnitudes(files.weights, settings, found)
    assembled = assembly.assemble((files.config, files.weights), settings, found.pairs)
    issues = (*_left_out(settings, found), *_elsewhere(files), *_caveats(settings, assembled))
    return Adapter(
        files=files, info=_info(files, settings, assembled.modules), modules=assembled.modules, issues=issues
    )


def _less(after: Adapter, initial: str | PathLike[str]) -> Adapter:
    """The adapter with what its training began with subtracted."""
    files = folder.find(initial, unconverted=True)
    if files.layout is not None:
        raise refuse(initial, f"it is one of {files.layout}", "give the PEFT adapter that this training run began with")
    before = _load(files, config.read(files.config))
    kept = [issue for issue in after.issues if not issue.startswith("random_start:")]
    return msgspec.structs.replace(
        after,
        modules=difference.modules(files, after.modules, before.modules),
        initial=files,
        info=msgspec.structs.replace(after.info, initial=files.given),
        issues=(difference.issue(files), *kept),
    )


def _check_magnitudes(weights: Path, settings: LoraConfig, found: Keys) -> None:
    if found.magnitudes and not settings.use_dora:
        wrong = f"it holds magnitudes of DoRA ({listed(sorted(found.magnitudes))}), but its config says no DoRA"
        raise refuse(weights, wrong, "put the config of this training run beside it")
    without = [name for name in found.pairs if name not in found.magnitudes] if settings.use_dora else []
    if without:
        wrong = f"its config says DoRA, but modules have no magnitudes ({listed(without)})"
        raise refuse(weights, wrong, "save the adapter again")


def _left_out(settings: LoraConfig, found: Keys) -> list[str]:
    """What the file or the config holds beside the factors."""
    notes = {
        "no_prefix": not found.prefixed and f"the keys lack {keys.PREFIX!r}: PEFT would load an untrained adapter",
        "adapter_name": found.adapter
        and f"the keys hold the adapter's name {quoted(found.adapter)}: older PEFT would load an untrained adapter",
        "modules_to_save": found.full and f"tensors stored whole are not audited ({listed(found.full)})",
        "bias": settings.bias not in (None, "none")
        and f"trained biases (bias={quoted(settings.bias)}) are not audited",
        "lora_bias": found.lora_biases and f"biases of lora_B are not audited ({listed(found.lora_biases)})",
        "trainable_tokens": found.token_rows and f"trained token rows are not audited ({listed(found.token_rows)})",
        "random_start": settings.init_lora_weights is False
        and "init_lora_weights is false: B @ A was not zero at the start, so it is more than what was learned",
    }
    return [f"{code}: {note}" for code, note in notes.items() if note]


def _elsewhere(files: Files) -> list[str]:
    """What lies in another place than asked."""
    notes = {
        "linked": files.linked and f"files that are links to elsewhere were followed ({listed(files.linked)})",
        "other_adapters": files.others and f"adapters in sub-directories were not read ({listed(files.others)})",
    }
    return [f"{code}: {note}" for code, note in notes.items() if note]


def _caveats(settings: LoraConfig, assembled: Assembled) -> list[str]:
    """What a reader of the numbers must know about how the factors act."""
    modules = assembled.modules
    zero = [module.name for module in modules if not module.scale]
    convs = [module.name for module in modules if module.kind == CONV]
    copies = [module.name for module in modules if module.is_copy]
    has_experts = any(module.kind == EXPERT for module in modules)
    notes = {
        "dora": settings.use_dora
        and "DoRA rescales the sum of base weight and B @ A: measured is B @ A alone, the direction; the whole update"
        " has full rank",
        "adalora": assembled.pruned and f"modules pruned to rank 0 are left out ({listed(assembled.pruned)})",
        "conv": convs and f"convolutions are flattened to out channels x (in channels x kernel) ({listed(convs)})",
        "tied": copies and f"repeats the embedding's factors, whose parameters are counted once ({listed(copies)})",
        "old_experts": has_experts
        and experts.is_old(settings)
        and "written by PEFT before 0.19, which stored experts transposed: later versions may not load it",
        "layer_replication": settings.layer_replication and "layers are numbered as in the grown stack",
        "monteclora": settings.monteclora_config and "measured is B @ A as at evaluation, without the sampled noise",
    }
    patterns = [*assembled.ranks.issues(), *assembled.alphas.issues()]
    told = [f"{code}: {note}" for code, note in notes.items() if note]
    silent = [f"zero_scale: alpha is 0 in modules, whose update is zero ({listed(zero)})"] if zero else []
    return [*told, *patterns, *silent]


def _info(files: Files, settings: LoraConfig, modules: tuple[Module, ...]) -> AdapterInfo:
    targets = settings.target_modules or ()
    return AdapterInfo(
        peft_dir=files.given,
        adapter_config_path=str(files.config),
        adapter_weights_path=str(files.weights),
        peft_type=settings.peft_type,
        base_model=settings.base_model_name_or_path,
        r=settings.init_r if settings.is_adalora else settings.r,
        lora_alpha=settings.lora_alpha,
        use_rslora=bool(settings.use_rslora),
        use_dora=bool(settings.use_dora),
        target_modules=(targets,) if isinstance(targets, str) else tuple(sorted(targets)),
        target_parameters=tuple(sorted(settings.target_parameters or ())),
        init_lora_weights=True if settings.init_lora_weights is None else settings.init_lora_weights,
        dtype=",".join(sorted({tensor.dtype for module in modules for tensor in module.tensors})),
        step=files.step,
    )
