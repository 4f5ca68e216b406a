"""What an audit found, as plain records; nothing here imports torch, so that advice and reports can read it."""

import msgspec

AUDIT_VERSION = 3  # goes up when a field is added, or changes its meaning
ENERGY_LEVEL = 0.95  # share of squared Frobenius norm; 90 % costs measurably more quality (see docs/USER_MANUAL.md)


class AdapterInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The adapter that was read. Paths are as given; `fingerprint` is `blake3:<hex>` of weights and config."""

    peft_dir: str
    adapter_config_path: str
    adapter_weights_path: str
    layout: str = "peft"  # the tool whose files these are: peft | diffusers | kohya | mlx-lm
    peft_type: str = "LORA"
    base_model: str | None = None
    r: int  # the config's; patterns may give modules others
    lora_alpha: float
    use_rslora: bool = False
    use_dora: bool = False
    target_modules: tuple[str, ...] = ()
    target_parameters: tuple[str, ...] = ()
    initial: str | None = None  # the adapter before training, where it was subtracted
    init_lora_weights: str | bool = True
    dtype: str | None = None
    step: int | None = None  # optimiser step of the checkpoint, where the directory tells
    fingerprint: str | None = None

    @property
    def kind(self) -> str:
        """What to call it: LORA, or LORA of diffusers."""
        return self.peft_type if self.layout == "peft" else f"{self.peft_type} of {self.layout}"


class ModuleAudit(msgspec.Struct, frozen=True, kw_only=True):
    """One adapted module; every spectrum is that of ΔW = scale * B @ A, descending.

    What is None is a ratio whose divisor is zero or lost in rounding, or a measure of factors that are not known.
    """

    name: str  # module path in the base model
    kind: str = "linear"  # linear | embedding | conv | attention | expert | parameter
    module_type: str  # attn | mlp | embedding | other
    target: str  # what `target_modules` calls it: q_proj
    layer: int | None
    r: int
    alpha: float
    scale: float
    in_features: int
    out_features: int
    params: int
    stable_rank: float
    effective_rank: float
    participation_ratio: float
    nuclear_rank: float
    utilization: float
    energy_rank: int  # at the record's energy level
    energy_rank_90: int
    energy_rank_95: int
    energy_rank_99: int
    energy_share: float  # of the adapter's energy
    delta_sigma_max: float
    delta_fro_norm: float
    delta_nuclear_norm: float
    sigma_1_over_2: float | None
    sigma_r_over_1: float
    a_fro_norm: float | None  # of the factors, without the scale
    b_fro_norm: float | None
    ab_norm_ratio: float | None
    ab_imbalance: float | None
    excess_norm: float | None
    residuals: tuple[float, ...]  # relative Frobenius error at the record's candidate ranks
    spectral_residuals: tuple[float, ...]  # the same in the spectral norm
    sigma_floor: float  # absolute error bound of the smallest singular values
    method: str  # gram | qr
    singular_values: tuple[float, ...] = ()
    base_sigma_max: float | None = None  # ‖W‖₂ of the base weight; this and all below only with a base model
    base_sigma_error: float | None = None  # how far off base_sigma_max may be
    base_fro_norm: float | None = None  # ‖W‖_F
    udr: float | None = None  # update dominance ratio ‖ΔW‖₂ / ‖W‖₂
    udr_f: float | None = None  # ‖ΔW‖_F / ‖W‖_F
    sdi: float | None = None  # log10(udr); none for an update of zero
    intruders: int | None = None  # of the ten leading directions of W + ΔW, those that W did not have; where looked for


class BaseRelative(msgspec.Struct, frozen=True, kw_only=True):
    """How large the updates of some modules are beside their base weights; None where no weight was measured."""

    n_layers_with_udr: int | None = None
    udr_mean: float | None = None
    udr_median: float | None = None
    udr_p90: float | None = None
    udr_max: float | None = None
    fraction_udr_gt_0_1: float | None = None
    fraction_udr_gt_0_3: float | None = None
    udr_f_mean: float | None = None
    udr_f_median: float | None = None
    udr_f_p90: float | None = None
    sdi_mean: float | None = None
    sdi_median: float | None = None
    sdi_p90: float | None = None


class Pooled(BaseRelative, frozen=True, kw_only=True):
    """Some modules together. Norms are those of the block-diagonal matrix of their updates."""

    n_layers: int  # modules; the public release's name
    stable_rank_mean: float
    effective_rank_mean: float
    participation_ratio_mean: float
    nuclear_rank_mean: float
    utilization_mean: float
    energy_rank_90_p50: float
    energy_rank_90_p90: float
    energy_rank_95_p50: float
    energy_rank_95_p90: float
    energy_rank_99_p50: float
    energy_rank_99_p90: float
    rank_waste: float  # 1 - sum k(in+out) / sum r(in+out), k the energy rank at the record's level
    delta_sigma_max: float
    delta_fro_norm: float
    delta_nuclear_norm: float
    sigma_1_over_2_p50: float | None
    sigma_r_over_1_p50: float
    ab_norm_ratio_p50: float | None
    ab_imbalance_mean: float | None
    excess_norm_p50: float | None


class GroupSummary(Pooled, frozen=True, kw_only=True):
    """The modules of one type, in one layer or of one target."""

    params: int
    energy_share: float  # of the adapter's energy
    energy_kept: tuple[float, ...]  # share of the group's energy left at the record's candidate ranks
    spectral_residuals: tuple[float, ...]  # relative error of the same cuts in the spectral norm


class NamedGroup(GroupSummary, frozen=True, kw_only=True):
    """A group with its name: a layer's path (model.layers.3) or a target (q_proj)."""

    name: str


class AuditSummary(Pooled, frozen=True, kw_only=True):
    """All modules together."""

    total_lora_params: int
    stable_rank_median: float
    stable_rank_weighted_mean: float
    energy_rank_p50: float  # at the record's energy level
    energy_rank_p90_weighted: float  # the same, p90 over modules weighted by their energy
    delta_sigma_max_scaled_mean: float
    delta_sigma_max_scaled_p50: float
    delta_sigma_max_scaled_p90: float
    delta_frob_norm_scaled_mean: float
    delta_frob_norm_scaled_p50: float
    delta_frob_norm_scaled_p90: float
    layer_energy_hhi: float  # concentration of the energy over layers: 1 / layers when even, 1 in one layer


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One audit of one adapter."""

    audit_version: int = AUDIT_VERSION
    energy_level: float = ENERGY_LEVEL
    adapter: AdapterInfo
    candidate_ranks: tuple[int, ...]  # the ladder up to the largest rank of any module, ascending
    energy_kept: tuple[float, ...]  # share of the whole adapter's energy left at each candidate rank
    spectral_residuals: tuple[float, ...]  # relative error of the same cuts in the spectral norm
    summary: AuditSummary
    by_type: dict[str, GroupSummary]
    by_layer: tuple[NamedGroup, ...]  # modules outside of any layer are in none
    by_target: tuple[NamedGroup, ...]
    modules: tuple[ModuleAudit, ...]
    base_path: str | None = None  # the base model that the updates were set against, as given
    issues: tuple[str, ...] = ()  # "code: one sentence"

    def __str__(self) -> str:
        """A title and two short tables: module types, and the first modules."""
        from gradience.audit import table  # it reads records, so it comes after them

        return table.text(self)

    def _repr_html_(self) -> str:
        """The same for a notebook, which calls this."""
        from gradience.audit import table  # as in `__str__`

        return table.html(self)
