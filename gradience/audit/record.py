"""What an audit found, as plain records; nothing here imports torch, so that advice and reports can read it."""

import msgspec

AUDIT_VERSION = 1
ENERGY_LEVEL = 0.95  # share of squared Frobenius norm; 90 % costs measurably more quality (see docs/USER_MANUAL.md)


class AdapterInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The adapter that was read. Paths are as given; `fingerprint` is `sha256:<hex>` of weights and config."""

    peft_dir: str
    adapter_config_path: str
    adapter_weights_path: str
    peft_type: str = "LORA"
    base_model: str | None = None
    r: int  # the config's; patterns may give modules others
    lora_alpha: float
    use_rslora: bool = False
    target_modules: tuple[str, ...] = ()
    init_lora_weights: str | bool = True
    dtype: str | None = None
    step: int | None = None  # optimiser step of the checkpoint, where the directory tells
    fingerprint: str | None = None


class ModuleAudit(msgspec.Struct, frozen=True, kw_only=True):
    """One adapted module; every spectrum is that of scale * B @ A, descending."""

    name: str  # module path in the base model
    kind: str = "linear"  # linear | embedding | conv | attention | expert | parameter
    module_type: str  # attn | mlp | embedding | other
    layer: int | None
    r: int
    alpha: float
    scale: float
    in_features: int
    out_features: int
    params: int
    stable_rank: float
    effective_rank: float
    utilization: float
    energy_rank: int  # at the record's energy level
    energy_rank_90: int
    energy_rank_95: int
    energy_rank_99: int
    delta_sigma_max: float
    delta_fro_norm: float
    residuals: tuple[float, ...]  # relative Frobenius error at the record's candidate ranks
    sigma_floor: float  # absolute error bound of the smallest singular values
    method: str  # gram | qr
    singular_values: tuple[float, ...] = ()


class TypeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The modules of one type, or all of them."""

    n_layers: int  # modules; the public release's name
    params: int
    stable_rank_mean: float
    effective_rank_mean: float
    utilization_mean: float
    energy_rank_90_p50: float
    energy_rank_90_p90: float
    energy_rank_95_p50: float
    energy_rank_95_p90: float
    energy_rank_99_p50: float
    energy_rank_99_p90: float
    rank_waste: float  # 1 - sum k(in+out) / sum r(in+out), k the energy rank at the record's level


class AuditSummary(msgspec.Struct, frozen=True, kw_only=True):
    """All modules together."""

    total_lora_params: int
    n_layers: int
    stable_rank_mean: float
    stable_rank_median: float
    stable_rank_weighted_mean: float
    effective_rank_mean: float
    utilization_mean: float
    energy_rank_90_p50: float
    energy_rank_90_p90: float
    energy_rank_95_p50: float
    energy_rank_95_p90: float
    energy_rank_99_p50: float
    energy_rank_99_p90: float
    energy_rank_p50: float  # at the record's energy level
    energy_rank_p90_weighted: float  # the same, p90 over modules weighted by their energy
    rank_waste: float
    delta_sigma_max_scaled_mean: float
    delta_sigma_max_scaled_p50: float
    delta_sigma_max_scaled_p90: float
    delta_frob_norm_scaled_mean: float
    delta_frob_norm_scaled_p50: float
    delta_frob_norm_scaled_p90: float


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One audit of one adapter."""

    audit_version: int = AUDIT_VERSION
    energy_level: float = ENERGY_LEVEL
    adapter: AdapterInfo
    candidate_ranks: tuple[int, ...]  # the ladder up to the largest rank of any module, ascending
    energy_kept: tuple[float, ...]  # share of the whole adapter's energy left at each candidate rank
    summary: AuditSummary
    by_type: dict[str, TypeSummary]
    modules: tuple[ModuleAudit, ...]
    issues: tuple[str, ...] = ()  # "code: one sentence"
