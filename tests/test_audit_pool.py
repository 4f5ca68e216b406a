"""What the modules of a group, or all of them, say together."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradience.audit.record import AuditRecord, ModuleAudit
from gradience.audit.spectra import pool

MakeRecord = Callable[..., AuditRecord]
Spectra = Mapping[str, Sequence[float]]
FLAT, SHARP, ZERO = [1, 1, 1, 1], [2, 0, 0, 0], [0, 0, 0, 0]
MIXED = {"0.q_proj": FLAT, "0.mlp": SHARP, "1.q_proj": ZERO}
RANKS = (1, 2, 4)


@pytest.fixture
def modules(make_record: MakeRecord) -> Callable[[Spectra], tuple[ModuleAudit, ...]]:
    """A function that makes modules of the given spectra, 64 x 64 each."""
    return lambda spectra: make_record(spectra).modules


def test_energy_is_pooled_and_cut_per_module(make_record: MakeRecord) -> None:
    """Cut to k, the flat module keeps k of 4 and the sharp one its single 4."""
    assert make_record(MIXED).energy_kept == pytest.approx((5 / 8, 6 / 8, 1))


def test_rank_waste_counts_parameters(make_record: MakeRecord) -> None:
    """The flat module needs 4 of 4 ranks, the sharp one 1, the zero one none: 5 of 12 are used."""
    assert make_record(MIXED).summary.rank_waste == pytest.approx(1 - 5 / 12)


def test_rank_waste_weighs_by_width(modules: Callable[[Spectra], tuple[ModuleAudit, ...]]) -> None:
    """A module three times as wide counts three times."""
    flat, sharp = modules({"0.q_proj": FLAT, "0.mlp": SHARP})
    wide = msgspec.structs.replace(sharp, params=3 * sharp.params)
    assert pool.rank_waste([flat, wide]) == pytest.approx(1 - (4 + 3) / (4 + 12))


def test_an_untrained_adapter_has_no_shares(make_record: MakeRecord) -> None:
    """No ratio of zeros: nothing is wasted, nothing is lost, every rank and share is 0, and ratios are not there."""
    record = make_record({"layers.0.q_proj": ZERO, "layers.1.q_proj": ZERO})
    assert (record.energy_kept, record.spectral_residuals) == ((1, 1, 1), (0, 0, 0))
    for one in (record.summary, record.by_type["attn"], *record.by_layer, *record.by_target):
        assert (one.rank_waste, one.stable_rank_mean, one.participation_ratio_mean, one.delta_nuclear_norm) == (0,) * 4
        assert (one.sigma_1_over_2_p50, one.excess_norm_p50, one.ab_norm_ratio_p50) == (None, None, None)
    assert record.summary.layer_energy_hhi == 0
    assert [one.energy_share for one in (*record.by_layer, *record.by_target)] == [0, 0, 0]


def test_energies_pool_without_overflow(make_record: MakeRecord) -> None:
    """Norms whose squares are no floats pool like any other."""
    record = make_record({"0.q": [1e300, 1e300], "1.q": [1e300, 0]})
    assert record.energy_kept == pytest.approx((2 / 3, 1))
    assert [module.energy_share for module in record.modules] == pytest.approx([2 / 3, 1 / 3])
    assert record.summary.delta_fro_norm == pytest.approx(math.sqrt(3) * 1e300)


def test_norms_of_a_group_are_those_of_all_its_updates_as_blocks_of_one_matrix(make_record: MakeRecord) -> None:
    """Spectral: the largest; Frobenius: the root of the sum of squares; nuclear: the sum; errors of a cut likewise."""
    record = make_record({"0.q_proj": [4, 3], "1.q_proj": [2, 2], "1.mlp": [9, 9]})
    group = record.by_type["attn"]
    assert (group.delta_sigma_max, group.delta_fro_norm, group.delta_nuclear_norm) == pytest.approx((4, 33**0.5, 11))
    assert group.spectral_residuals == pytest.approx((3 / 4, 0))
    assert group.energy_kept == pytest.approx((20 / 33, 1))
    assert record.spectral_residuals == pytest.approx((1, 0))


def test_types_come_in_one_order(make_record: MakeRecord) -> None:
    """Only types that occur, attn first."""
    record = make_record({"0.mlp": SHARP, "lm_head": [1], "0.q_proj": FLAT})
    assert list(record.by_type) == ["attn", "mlp", "embedding"]


def test_layers_of_two_towers_are_not_one(make_record: MakeRecord) -> None:
    """Layer 0 of an encoder and layer 0 of a decoder are told apart; what is in no layer is in no group."""
    spectra = {"encoder.layers.0.fc1": SHARP, "decoder.layers.0.fc1": SHARP, "decoder.layers.0.fc2": SHARP, "x": SHARP}
    found = make_record(spectra).by_layer
    assert [(layer.name, layer.n_layers) for layer in found] == [("encoder.layers.0", 1), ("decoder.layers.0", 2)]


def test_targets_are_the_last_parts_of_paths(make_record: MakeRecord) -> None:
    """As a config names them, in all layers together."""
    found = make_record({"layers.0.q_proj": SHARP, "layers.0.k_proj": SHARP, "layers.1.q_proj": SHARP}).by_target
    assert [(one.name, one.n_layers) for one in found] == [("q_proj", 2), ("k_proj", 1)]


def test_the_concentration_over_layers_is_that_of_their_energy(make_record: MakeRecord) -> None:
    """Four equal layers give 1/4; modules outside of any layer do not take part."""
    even = {f"layers.{i}.{name}": SHARP for i in range(4) for name in ("q_proj", "up_proj")}
    assert make_record({**even, "lm_head": [9.0]}).summary.layer_energy_hhi == pytest.approx(1 / 4)
    assert make_record({"layers.0.q_proj": SHARP, "layers.1.q_proj": ZERO}).summary.layer_energy_hhi == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(spectra=st.lists(st.lists(st.floats(0, 1e30), min_size=1, max_size=8), min_size=1, max_size=12))
def test_every_grouping_is_of_the_same_whole(make_record: MakeRecord, spectra: list[list[float]]) -> None:
    """Counts, parameters and energy shares of the groups add up to those of all modules."""
    named = {f"layers.{i % 3}.{'qkv'[i % 2]}_proj_{i}": sorted(one, reverse=True) for i, one in enumerate(spectra)}
    record = make_record(named)
    for groups in (record.by_type.values(), record.by_layer, record.by_target):
        assert sum(group.n_layers for group in groups) == record.summary.n_layers
        assert sum(group.params for group in groups) == record.summary.total_lora_params
        assert sum(group.energy_share for group in groups) == pytest.approx(float(record.summary.delta_fro_norm > 0))


@given(values=st.lists(st.integers(0, 64), min_size=2, max_size=30), q=st.sampled_from([0.5, 0.9, 0.25]))
def test_percentiles_interpolate(values: list[int], q: float) -> None:
    """As the standard library's inclusive quantiles do."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    assert pool.percentile(values, q) == pytest.approx(cuts[round(q * 100) - 1])
