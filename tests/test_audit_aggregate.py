"""What the modules say together."""

import statistics

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradience.audit import aggregate, layers, measures
from gradience.audit.record import ModuleAudit

RANKS = (1, 2, 4)


def module(name: str, *values: float, width: int = 8) -> ModuleAudit:
    """The audit of a square module with this spectrum, at 95 %."""
    k90, k95, k99 = measures.energy_ranks(values, (0.90, 0.95, 0.99))
    return ModuleAudit(
        name=name,
        module_type=layers.module_type(name),
        layer=layers.layer_index(name),
        r=len(values),
        alpha=1.0,
        scale=1.0,
        in_features=width,
        out_features=width,
        params=2 * width * len(values),
        stable_rank=measures.stable_rank(values),
        effective_rank=measures.effective_rank(values),
        utilization=measures.stable_rank(values) / len(values),
        energy_rank=k95,
        energy_rank_90=k90,
        energy_rank_95=k95,
        energy_rank_99=k99,
        delta_sigma_max=values[0],
        delta_fro_norm=measures.fro_norm(values),
        residuals=measures.residuals(values, RANKS),
        sigma_floor=0.0,
        method="gram",
        singular_values=values,
    )


FLAT, SHARP, ZERO = module("0.q_proj", 1, 1, 1, 1), module("0.mlp", 2, 0, 0, 0), module("1.q_proj", 0, 0, 0, 0)


def test_energy_is_pooled_and_cut_per_module() -> None:
    """Cut to k, the flat module keeps k of 4 and the sharp one its single 4."""
    assert aggregate.energy_kept([FLAT, SHARP, ZERO], RANKS) == pytest.approx((5 / 8, 6 / 8, 1))


def test_rank_waste_counts_parameters() -> None:
    """The flat module needs 4 of 4 ranks, the sharp one 1, the zero one none: 5 of 12 are used."""
    assert aggregate.rank_waste([FLAT, SHARP, ZERO]) == pytest.approx(1 - 5 / 12)


def test_rank_waste_weighs_by_width() -> None:
    """A module three times as wide counts three times."""
    wide = module("0.mlp", 2, 0, 0, 0, width=24)
    assert aggregate.rank_waste([FLAT, wide]) == pytest.approx(1 - (4 + 3) / (4 + 12))


def test_the_weighted_p90_follows_the_energy() -> None:
    """A module with hardly any energy does not set the rank, however flat it is."""
    faint = msgspec.structs.replace(FLAT, delta_fro_norm=1e-3)
    assert aggregate.summary([faint, SHARP]).energy_rank_p90_weighted == 1
    assert aggregate.summary([FLAT, SHARP]).energy_rank_p90_weighted == 4


def test_an_untrained_adapter_has_no_shares() -> None:
    """No ratio of zeros: nothing is wasted, nothing is lost, every rank is 0."""
    summary = aggregate.summary([ZERO, ZERO])
    assert aggregate.energy_kept([ZERO, ZERO], RANKS) == (1, 1, 1)
    assert (summary.rank_waste, summary.energy_rank_p90_weighted, summary.stable_rank_mean) == (0, 0, 0)


def test_energies_pool_without_overflow() -> None:
    """Norms whose squares are no floats pool like any other."""
    modules = [module("0.q", 1e300, 1e300), module("1.q", 1e300, 0)]
    assert aggregate.energy_kept(modules, (1, 2, 4)) == pytest.approx((2 / 3, 1, 1))


def test_types_come_in_one_order() -> None:
    """Only types that occur, attn first."""
    assert list(aggregate.by_type([SHARP, module("lm_head", 1), FLAT])) == ["attn", "mlp", "embedding"]


@given(values=st.lists(st.integers(0, 64), min_size=2, max_size=30), q=st.sampled_from([0.5, 0.9, 0.25]))
def test_percentiles_interpolate(values: list[int], q: float) -> None:
    """As the standard library's inclusive quantiles do."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    assert aggregate.percentile(values, q) == pytest.approx(cuts[round(q * 100) - 1])


def test_norms_take_the_nearest_rank() -> None:
    """As the public release does under the same names."""
    summary = aggregate.summary([module(f"{i}.q", float(i)) for i in range(1, 12)])
    assert (summary.delta_sigma_max_scaled_p50, summary.delta_sigma_max_scaled_p90) == (6.0, 10.0)
    assert summary.delta_frob_norm_scaled_mean == pytest.approx(6.0)
