"""adapter_config.json, validated, and every refusal that it alone decides.

Only adapters pass whose update follows from their factors: every other type and variant is named. What PEFT itself
ignores (keys that it does not know and that switch nothing on) is ignored here.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gradience.audit.disk import variants
from gradience.audit.refusal import quoted, refuse

_MOST = 1 << 20  # no rank is larger
_LIMIT = 16 << 20  # bytes; a config that names every expert of a large model by path stays far below
_BASE_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
_PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica")


class LoraConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of PEFT's `LoraConfig` and `AdaLoraConfig` that decide what the factors mean, with its defaults."""

    peft_type: str
    r: int = 8
    init_r: int = 12  # AdaLoRA's rank before it prunes; it ignores `r`
    lora_alpha: float = 8
    use_rslora: bool | None = False
    use_dora: bool | None = False
    rank_pattern: dict[str, int | list[bool]] | None = None  # lists are AdaLoRA's: which directions are left
    alpha_pattern: dict[str, float] | None = None
    target_modules: list[str] | str | None = None
    init_lora_weights: bool | str | None = True
    base_model_name_or_path: str | None = None
    bias: str | None = "none"
    lora_bias: bool | None = False
    modules_to_save: list[str] | None = None
    trainable_token_indices: list[int] | dict[str, list[int]] | None = None
    target_parameters: list[str] | None = None
    layer_replication: Any = None
    ensure_weight_tying: bool | None = False
    velora_config: Any = None
    monteclora_config: Any = None
    peft_version: str | None = None
    expert_layout: str | None = msgspec.field(default=None, name="lora_B_layout")  # Unsloth's own
    auto_mapping: Any = None

    @property
    def is_adalora(self) -> bool:
        """B @ diag(E) @ A, of a rank that was pruned module by module."""
        return self.peft_type == variants.ADALORA

    @property
    def ranks(self) -> Mapping[str, Any]:
        """The ranks of `rank_pattern`; AdaLoRA looks up none, and keeps something else there."""
        return {} if self.is_adalora else self.rank_pattern or {}

    @property
    def alphas(self) -> Mapping[str, float]:
        """The alphas of `alpha_pattern`; AdaLoRA looks up none."""
        return {} if self.is_adalora else self.alpha_pattern or {}

    @property
    def changes_base(self) -> bool:
        """A piece was cut out of the base weights and put into the factors, where B @ A still holds it."""
        init = self.init_lora_weights
        return isinstance(init, str) and init.lower().startswith(_BASE_CHANGING)

    def scale(self, r: int, alpha: float) -> float:
        """What PEFT multiplies B @ A with: alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA.

        AdaLoRA divides by the rank that it began with, and takes r for an alpha that is not positive.
        """
        if self.is_adalora:
            return (alpha if alpha > 0 else r) / (self.init_r + 1e-5)
        return alpha / math.sqrt(r) if self.use_rslora else alpha / r


def read(path: Path) -> LoraConfig:
    """The config at `path`.

    Raises:
        AdapterError: it cannot be read, makes no sense, or describes an adapter that is not audited.
    """
    return of(path, fields(path))


def of(path: Path, given: dict[str, Any]) -> LoraConfig:
    """The config with these fields, which `path` holds.

    Raises:
        AdapterError: as `read`.
    """
    _check_type(path, given)
    variants.check(path, given)
    try:
        config = msgspec.convert(given, LoraConfig)
    except msgspec.ValidationError as error:
        raise refuse(
            path, f"a value is not usable: {_one_line(error)}", "mend the config; PEFT cannot load it"
        ) from error
    _check_numbers(path, config)
    _check_init(path, config)
    return config


def fields(path: Path) -> dict[str, Any]:
    """What the file at `path` holds, whatever it means.

    Raises:
        AdapterError: it cannot be read, or is no JSON object.
    """
    try:
        if path.stat().st_size > _LIMIT:
            raise refuse(path, "it is too large for an adapter's config", "check that it is the right file")
        with path.open("rb") as file:
            raw = file.read(_LIMIT + 1).removeprefix(b"\xef\xbb\xbf")  # the size of some files is a lie
        found = msgspec.json.decode(raw)
    except OSError as error:
        raise refuse(path, f"it cannot be read ({error.strerror})", "check its permissions") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise refuse(path, f"it is not valid JSON ({_one_line(error)})", _unparsed(raw)) from error
    if not isinstance(found, dict):
        raise refuse(path, "it is not a JSON object", "put the config that training wrote there")
    return found


def _unparsed(raw: bytes) -> str:
    if raw.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer: run `git lfs pull`"
    return "put the config that training wrote there"


def _check_type(path: Path, fields: dict[str, Any]) -> None:
    if "peft_type" not in fields:
        if "lora_parameters" in fields or "fine_tune_type" in fields:
            raise refuse(
                path, "it is the config of mlx-lm, not of PEFT", "convert the adapter to the PEFT layout first"
            )
        raise refuse(path, "it has no peft_type", "put the config that PEFT wrote there")


def _check_numbers(path: Path, config: LoraConfig) -> None:
    ranks = [("init_r", config.init_r)] if config.is_adalora else _ranks(path, config)
    for field, rank in ranks:
        if not 1 <= rank <= _MOST:
            raise refuse(
                path, f"{field} is {rank}: a rank is a positive integer", "mend the config; PEFT cannot load it"
            )
    for field, alpha in (("lora_alpha", config.lora_alpha), *_entries("alpha_pattern", config.alpha_pattern)):
        if not math.isfinite(alpha):
            raise refuse(path, f"{field} is {alpha}", "mend the config")


def _ranks(path: Path, config: LoraConfig) -> list[tuple[str, int]]:
    ranks = [("r", config.r)]
    for field, rank in _entries("rank_pattern", config.rank_pattern):
        if not isinstance(rank, int):
            raise refuse(path, f"{field} is a list of directions, as in AdaLoRA", "mend its peft_type")
        ranks.append((field, rank))
    return ranks


def _entries(field: str, pattern: dict[str, Any] | None) -> list[tuple[str, Any]]:
    return [(f"{field}[{quoted(key)}]", value) for key, value in (pattern or {}).items()]


def _check_init(path: Path, config: LoraConfig) -> None:
    init = config.init_lora_weights
    if isinstance(init, str) and not config.changes_base and init.lower() not in _PLAIN_INITS:
        raise refuse(path, f"init_lora_weights {quoted(init)} is not known", "only known initialisations are audited")


def _one_line(error: Exception) -> str:
    return str(error).replace("\n", " ").replace("`", "")[:200]
