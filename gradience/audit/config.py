"""adapter_config.json, validated, and every refusal that it alone decides.

Only `peft_type` LORA in its plain form passes: each variant for which scale * B @ A is not the whole update is named.
What PEFT itself ignores (keys it does not know) is ignored here.
"""

import math
from pathlib import Path
from typing import Any

import msgspec

from gradience.audit.refusal import quoted, refuse

_LIMIT = 16 << 20  # bytes; a config that names every expert of a large model by path stays far below

# PEFT can turn these into plain LoRA because they add a matrix to the base weight.
_CONVERTIBLE = frozenset(
    {"LOHA", "LOKR", "MISS", "C3A", "FOURIERFT", "VERA", "RANDLORA", "VBLORA", "GRALORA", "WAVEFT", "TINYLORA"}
    | {"UNILORA", "PSOFT", "DELORA"}
)
_CONVERT = "convert it with `peft.save_as_lora` and audit the result"
_PLAIN = "only plain LoRA is audited"
_INITIAL = (
    "save it with `path_initial_model_for_weight_conversion`, so that PEFT writes the true difference, and audit that"
)
_BASE_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
_PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica")


class LoraConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of PEFT's `LoraConfig` that decide what the factors mean, with its defaults."""

    r: int = 8
    lora_alpha: float = 8
    use_rslora: bool | None = False
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None
    target_modules: list[str] | str | None = None
    init_lora_weights: bool | str | None = True
    base_model_name_or_path: str | None = None
    bias: str | None = "none"
    lora_bias: bool | None = False
    modules_to_save: list[str] | None = None
    trainable_token_indices: list[int] | dict[str, list[int]] | None = None

    def scale(self, r: int, alpha: float) -> float:
        """What PEFT multiplies B @ A with: alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA."""
        return alpha / math.sqrt(r) if self.use_rslora else alpha / r


def read(path: Path) -> LoraConfig:
    """The config at `path`.

    Raises:
        AdapterError: it cannot be read, makes no sense, or describes an adapter that is not plain LoRA.
    """
    fields = _fields(path)
    _check_type(path, fields)
    _check_variant(path, fields)
    try:
        config = msgspec.convert(fields, LoraConfig)
    except msgspec.ValidationError as error:
        raise refuse(
            path, f"a value is not usable: {_one_line(error)}", "mend the config; PEFT cannot load it"
        ) from error
    _check_numbers(path, config)
    _check_init(path, config)
    return config


def _fields(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LIMIT:
            raise refuse(path, "it is too large for an adapter's config", "check that it is the right file")
        raw = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        fields = msgspec.json.decode(raw)
    except OSError as error:
        raise refuse(path, f"it cannot be read ({error.strerror})", "check its permissions") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise refuse(path, f"it is not valid JSON ({_one_line(error)})", _unparsed(raw)) from error
    if not isinstance(fields, dict):
        raise refuse(path, "it is not a JSON object", "put the config that training wrote there")
    return fields


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
    kind = fields["peft_type"]
    if kind == "LORA":
        return
    mend = _CONVERT if str(kind) in _CONVERTIBLE else "only peft_type LORA is audited"
    raise refuse(path, f"its peft_type is {quoted(kind)}, whose update is not scale * B @ A", mend)


def _check_variant(path: Path, fields: dict[str, Any]) -> None:
    for field, wrong, mend in (
        ("use_dora", "a DoRA adapter: B @ A is only the direction of its update", _PLAIN),
        ("target_parameters", "an adapter of expert or bare parameters: its factors are stacked", _PLAIN),
        ("kasa_config", "a KaSA adapter: it also cuts into the base weight", _PLAIN),
        ("use_bdlora", "a BD-LoRA adapter: its factors are packed blocks", _PLAIN),
        ("use_qalora", "a QA-LoRA adapter: its A acts on pooled inputs", _PLAIN),
        ("alora_invocation_tokens", "an activated LoRA: it acts only after its tokens", _PLAIN),
        ("arrow_config", "an Arrow router over several adapters", "audit each of the adapters that it routes to"),
        ("velora_config", "a VeLoRA adapter", _PLAIN),
        ("monteclora_config", "a MonteCLoRA adapter: its factors are sampled", _PLAIN),
        ("layer_replication", "an adapter of replicated layers", "only adapters of the model's own layers are audited"),
        ("megatron_config", "an adapter of Megatron's parallel layers", _PLAIN),
    ):  # fmt: skip
        if fields.get(field) not in (None, False, [], {}):
            raise refuse(path, f"{field} is set: it is {wrong}", mend)


def _check_numbers(path: Path, config: LoraConfig) -> None:
    for field, rank in (("r", config.r), *_entries("rank_pattern", config.rank_pattern)):
        if not 1 <= rank <= 1 << 20:
            raise refuse(
                path, f"{field} is {rank}: a rank is a positive integer", "mend the config; PEFT cannot load it"
            )
    for field, alpha in (("lora_alpha", config.lora_alpha), *_entries("alpha_pattern", config.alpha_pattern)):
        if not math.isfinite(alpha):
            raise refuse(path, f"{field} is {alpha}", "mend the config")


def _entries(field: str, pattern: dict[str, Any] | None) -> list[tuple[str, Any]]:
    return [(f"{field}[{quoted(key)}]", value) for key, value in (pattern or {}).items()]


def _check_init(path: Path, config: LoraConfig) -> None:
    init = config.init_lora_weights
    if not isinstance(init, str):
        return
    if init.lower().startswith(_BASE_CHANGING):
        wrong = f"init_lora_weights is {quoted(init)}: B @ A includes a part that was cut out of the base weights"
        raise refuse(path, wrong, _INITIAL)
    if init.lower() not in _PLAIN_INITS:
        raise refuse(path, f"init_lora_weights {quoted(init)} is not known", "only known initialisations are audited")


def _one_line(error: Exception) -> str:
    return str(error).replace("\n", " ").replace("`", "")[:200]
