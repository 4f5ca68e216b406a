"""What PEFT's own rules imply for an adapter's configuration: what it refuses, ignores, or reads otherwise."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gradience.policy.check_rules import CheckCase
from gradience.policy.rule import Finder, Match, Thresholds
from gradience.settings.nearest import nearest
from gradience.settings.peft import FIELDS, UNKNOWN

_PATTERNS: Final = ("rank_pattern", "alpha_pattern")


def peft_unknown_key(case: CheckCase, _: Thresholds) -> Match | None:
    """Keys of an adapter's configuration that PEFT does not have."""
    unknown = case.config.lora.extras.get(UNKNOWN) or []
    if not unknown:
        return None
    meant = nearest(_unprefixed(unknown[0]), FIELDS)
    hint = f"; {meant} is near" if meant else ""
    return Match(facts={"names": ", ".join(unknown), "hint": hint})


def peft_experts_dropout(case: CheckCase, _: Thresholds) -> Match | None:
    """Dropout on experts."""
    dropout = case.config.lora.dropout
    return Match(facts={"dropout": dropout}) if _said(case, "target_parameters") and dropout else None


def peft_experts_variant(case: CheckCase, _: Thresholds) -> Match | None:
    """Experts with a variant that PEFT has for layers alone."""
    named = [name for name in ("use_dora", "fan_in_fan_out", "lora_bias") if _said(case, name) is True]
    return Match(facts={"variant": named[0]}) if named and _said(case, "target_parameters") else None


def peft_dora_bias(case: CheckCase, _: Thresholds) -> Match | None:
    """DoRA with a bias of lora_B."""
    return Match() if _said(case, "use_dora") is True and _said(case, "lora_bias") is True else None


def peft_layers_with_regex(case: CheckCase, _: Thresholds) -> Match | None:
    """Layers are chosen by number, and modules by one expression."""
    targets = case.config.lora.target_modules or []
    is_expression = len(targets) == 1 and bool(set(targets[0]) & set("\\()[]|*+?^$"))
    layers = _said(case, "layers_to_transform")
    return Match(facts={"targets": targets[0]}) if layers is not None and is_expression else None


def peft_layers_pattern_alone(case: CheckCase, _: Thresholds) -> Match | None:
    """A pattern of layers without the layers."""
    pattern = _said(case, "layers_pattern")
    return Match(facts={"pattern": str(pattern)}) if pattern and _said(case, "layers_to_transform") is None else None


def peft_orthogonal_odd(case: CheckCase, _: Thresholds) -> Match | None:
    """The orthogonal initialisation takes pairs of directions."""
    r = case.config.lora.r
    return Match(facts={"r": r}) if r and r % 2 and _said(case, "init_lora_weights") == "orthogonal" else None


def peft_saved_and_adapted(case: CheckCase, _: Thresholds) -> Match | None:
    """A module that is trained whole and adapted."""
    saved = _said(case, "modules_to_save")
    named = {name for name in saved if isinstance(name, str)} if isinstance(saved, list) else set[str]()
    both = sorted(named & set(case.config.lora.target_modules or []))
    return Match(facts={"names": ", ".join(both)}) if both else None


def peft_pattern_prefix(case: CheckCase, _: Thresholds) -> Match | None:
    """Keys with the prefix of PEFT's wrapper, which its lookup never sees."""
    odd = [key for _, key, _ in _entries(case) if str(key).lstrip("^").startswith("base_model.")]
    return Match(facts={"key": odd[0], "count": len(odd)}) if odd else None


def peft_pattern_float(case: CheckCase, _: Thresholds) -> Match | None:
    """Ranks that are no whole numbers."""
    odd = [key for field, key, value in _entries(case) if field == "rank_pattern" and type(value) is not int]
    return Match(facts={"key": odd[0]}) if odd and _said(case, "peft_type") != "ADALORA" else None


def peft_pattern_overlap(case: CheckCase, _: Thresholds) -> Match | None:
    """Two keys that match the same modules with different values: PEFT sorts them when it saves."""
    for field in _PATTERNS:
        pattern = _said(case, field)
        for one, value in pattern.items() if isinstance(pattern, Mapping) else ():
            for other in _endings(str(one)):
                if pattern.get(other, value) != value:
                    return Match(facts={"field": field, "key": one, "other": other})
    return None


def _said(case: CheckCase, name: str) -> Any:
    """A field of PEFT's, wherever a flat file's settings were sorted to."""
    found = case.config.lora.extras.get(name)
    return case.training.get(name) if found is None else found


def _entries(case: CheckCase) -> Iterator[tuple[str, str, Any]]:
    for field in _PATTERNS:
        pattern = _said(case, field)
        if isinstance(pattern, Mapping):
            yield from ((field, key, value) for key, value in pattern.items())


def _endings(path: str) -> Iterator[str]:
    """What is left of a dotted path from each of its dots on, the longest first."""
    while path := path.partition(".")[2]:
        yield path


def _unprefixed(name: str) -> str:
    return f"lora_{name}" if name in ("alpha", "dropout") else name.removeprefix("lora_") if name == "lora_r" else name


RULES: Final[tuple[Finder[CheckCase], ...]] = (
    peft_unknown_key,
    peft_experts_dropout,
    peft_experts_variant,
    peft_dora_bias,
    peft_layers_with_regex,
    peft_layers_pattern_alone,
    peft_orthogonal_odd,
    peft_saved_and_adapted,
    peft_pattern_prefix,
    peft_pattern_float,
    peft_pattern_overlap,
)
