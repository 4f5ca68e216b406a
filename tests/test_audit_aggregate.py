"""From spectra to the record."""

import math
from collections.abc import Callable

import msgspec
import pytest

from gradience.audit import columns
from gradience.audit.record import AuditRecord

MakeRecord = Callable[..., AuditRecord]


def test_a_module_has_every_measure_of_its_spectrum(make_record: MakeRecord) -> None:
    """Worked by hand for σ = 4, 3, 0, 0 with ‖A‖_F = 2 and ‖B‖_F = 5."""
    (module,) = make_record({"model.layers.7.self_attn.q_proj": [4, 3, 0, 0]}).modules
    assert (module.module_type, module.target, module.layer, module.energy_share) == ("attn", "q_proj", 7, 1)
    assert (module.delta_sigma_max, module.delta_fro_norm, module.delta_nuclear_norm) == pytest.approx((4, 5, 7))
    assert (module.participation_ratio, module.nuclear_rank) == pytest.approx((625 / 337, 7 / 4))
    assert [module.sigma_1_over_2, module.sigma_r_over_1] == pytest.approx([4 / 3, 0])
    assert [module.a_fro_norm, module.b_fro_norm, module.ab_norm_ratio] == pytest.approx([2, 5, 2 / 5])
    assert [module.ab_imbalance, module.excess_norm] == pytest.approx([0.5, 29 / 14])
    assert module.residuals == pytest.approx((3 / 5, 0, 0))
    assert module.spectral_residuals == pytest.approx((3 / 4, 0, 0))


def test_the_weighted_p90_follows_the_energy(make_record: MakeRecord) -> None:
    """A module with hardly any energy does not set the rank, however flat it is."""
    sharp = [2, 0, 0, 0]
    assert make_record({"0.q_proj": [1e-3] * 4, "0.mlp": sharp}).summary.energy_rank_p90_weighted == 1
    assert make_record({"0.q_proj": [1] * 4, "0.mlp": sharp}).summary.energy_rank_p90_weighted == 4


def test_norms_take_the_nearest_rank(make_record: MakeRecord) -> None:
    """As the public release does under the same names."""
    summary = make_record({f"{i}.q": [float(i)] for i in range(1, 12)}).summary
    assert (summary.delta_sigma_max_scaled_p50, summary.delta_sigma_max_scaled_p90) == (6.0, 10.0)
    assert summary.delta_frob_norm_scaled_mean == pytest.approx(6.0)


def test_no_number_of_an_ordinary_audit_is_missing_or_not_finite(make_record: MakeRecord) -> None:
    """What is None is a ratio of zeros, and here there is none; or needs a base model, and is left out."""
    record = make_record({"layers.0.q_proj": [3, 2, 1], "layers.1.mlp": [2, 2, 1]})
    for one in (*record.modules, record.summary, *record.by_layer, *record.by_target, *record.by_type.values()):
        fields = columns.told(msgspec.to_builtins(one))
        numbers = [value for value in fields.values() if not isinstance(value, str | list | tuple)]
        assert all(number is not None and math.isfinite(number) for number in numbers)
