import math
import re
from collections.abc import Callable, Mapping

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gradience.audit.record import AuditRecord
from gradience.policy import allocation, module_ranks
from gradience.policy.allocation import Item
from gradience.policy.module_ranks import ModuleRanks

MakeRecord = Callable[..., AuditRecord]
LOW, HIGH = [8.0, *[1e-3] * 15], [1.0] * 16
spectra = st.lists(st.floats(0, 1e3), min_size=1, max_size=40).map(lambda values: sorted(values, reverse=True))


def looked_up(name: str, pattern: Mapping[str, float], default: float) -> float:
    """PEFT's rule: the first key in the order of the file that matches the end of the path."""
    return next((value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", name)), default)


def check_lookup(ranks: ModuleRanks) -> None:
    """PEFT gives every module the rank and the alpha that are suggested for it."""
    fields = module_ranks.settings(ranks)
    for row in ranks.modules:
        assert looked_up(row.name, fields["rank_pattern"], fields["r"]) == row.suggested_rank
        assert looked_up(row.name, fields["alpha_pattern"], fields["lora_alpha"]) == row.alpha


@given(st.lists(spectra, min_size=1, max_size=6))
@example([[5e-324, 5e-324]])  # whose norm is no more exact than its values
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_together_they_keep_the_energy_with_ranks_that_can_be_had(
    make_record: MakeRecord, given_spectra: list[list[float]]
) -> None:
    """Never 0, not of an untrained module either; never above the trained rank; and the settings say the same."""
    ranks = module_ranks.suggest(make_record({f"layers.{i}.q_proj": values for i, values in enumerate(given_spectra)}))
    for row in ranks.modules:
        assert 1 <= row.suggested_rank <= row.r
    assert ranks.energy_kept >= 0.95 - 1e-9
    assert ranks.params_suggested <= ranks.params
    check_lookup(ranks)


def test_the_largest_rank_is_the_default(make_record: MakeRecord) -> None:
    """Servers make room for it; the others are named by their full paths, in both patterns."""
    ranks = module_ranks.suggest(make_record({f"layers.{i}.q_proj": [4.0] * 16 if i == 2 else LOW for i in range(4)}))
    fields = module_ranks.settings(ranks)
    others = {f"layers.{i}.q_proj": 1 for i in (0, 1, 3)}
    assert fields == {"r": 15, "lora_alpha": 15, "rank_pattern": others, "alpha_pattern": others}
    assert (ranks.params, ranks.params_suggested) == (64 * 128, 18 * 128)


def test_energy_is_pooled_over_the_model(make_record: MakeRecord) -> None:
    """A module that hardly moved gets one direction, whatever its own spectrum looks like."""
    quiet = [0.1] * 16
    ranks = module_ranks.suggest(make_record({"0.q_proj": [4.0, 3.0, 2.0, 1.0, *[0.0] * 12], "1.q_proj": quiet}))
    assert [row.suggested_rank for row in ranks.modules] == [3, 1]
    assert [row.energy_rank for row in ranks.modules] == [3, 16]


@given(st.lists(spectra, min_size=1, max_size=5), st.floats(0.01, 1.0))
def test_no_other_order_keeps_more_for_the_price(given_spectra: list[list[float]], share: float) -> None:
    """Of equal prices: at as many directions in all, none is left out that has more energy than one that is in."""
    items = [Item(tuple(value**2 for value in values), 1) for values in given_spectra]
    ranks = allocation.pooled(items, share)
    taken = [energy for item, rank in zip(items, ranks, strict=True) for energy in item.energies[1:rank]]
    left = [energy for item, rank in zip(items, ranks, strict=True) for energy in item.energies[rank:]]
    assert min(taken, default=math.inf) >= max(left, default=0.0)
    kept = math.fsum(energy for item, rank in zip(items, ranks, strict=True) for energy in item.energies[:rank])
    assert kept >= share * math.fsum(energy for item in items for energy in item.energies) * (1 - 1e-12)


@pytest.mark.parametrize(("use_rslora", "scale", "alpha"), [(False, 0.5, 0.5), (True, 0.5, 0.5), (False, -2.0, -2.0)])
def test_the_alpha_keeps_the_scale(make_record: MakeRecord, use_rslora: bool, scale: float, alpha: float) -> None:
    """Alpha / r, or alpha / √r with rsLoRA, is what it was: at rank 1 both are alpha."""
    record = make_record({"layers.0.q_proj": LOW}, use_rslora=use_rslora)
    (module,) = record.modules
    scaled = msgspec.structs.replace(record, modules=(msgspec.structs.replace(module, scale=scale),))
    assert module_ranks.suggest(scaled).lora_alpha == alpha


@pytest.mark.parametrize("r", range(1, 50))
def test_a_rank_that_stays_has_its_alpha(make_record: MakeRecord, r: int) -> None:
    """Whatever dividing and multiplying by r did to the last bit."""
    record = make_record({"layers.0.q_proj": [1.0] * r}, energy_level=1.0, use_rslora=bool(r % 2))
    (module,) = record.modules
    scaled = msgspec.structs.replace(module, scale=7 / (r**0.5 if r % 2 else r))
    assert module_ranks.suggest(msgspec.structs.replace(record, modules=(scaled,))).lora_alpha == 7


def test_an_alpha_that_is_no_whole_number_stays_exact(make_record: MakeRecord) -> None:
    """RsLoRA at rank 2 with scale 1 needs √2."""
    record = make_record({"layers.0.q_proj": [2.0, 2.0, 0.0, 0.0]}, use_rslora=True)
    assert module_ranks.settings(module_ranks.suggest(record))["lora_alpha"] == 2**0.5


@pytest.mark.parametrize(
    "names", [("layers.0.q", "encoder.layers.0.q", "x.q"), ("a.b", "z.a.b", "c"), ("layers.0.q+", "layers.1.q(", "q")]
)
def test_a_path_that_is_the_end_of_another_one_is_anchored(make_record: MakeRecord, names: tuple[str, ...]) -> None:
    """Whichever of them differs, none takes the rank of another; nor does a name that is no plain path."""
    for odd in names:
        check_lookup(module_ranks.suggest(make_record({name: HIGH if name == odd else LOW for name in names})))


def test_at_all_of_the_energy_every_module_keeps_its_rank(make_record: MakeRecord) -> None:
    """Trained ranks may differ."""
    ranks = module_ranks.suggest(make_record({"0.q": [1.0] * 3, "1.q": [1.0] * 8}, energy_level=1.0))
    assert [(row.suggested_rank, row.energy_kept) for row in ranks.modules] == [(3, 1.0), (8, 1.0)]


@pytest.mark.parametrize(
    ("kind", "names", "owner"),
    [
        ("expert", ("layers.0.experts.w1[0]", "layers.0.experts.w1[1]"), "layers.0.experts.w1"),
        ("attention", ("layers.0.attn", "layers.0.attn.out_proj"), "layers.0.attn"),
    ],
)
def test_what_shares_a_rank_is_weighed_together(
    make_record: MakeRecord, kind: str, names: tuple[str, str], owner: str
) -> None:
    """All experts of a parameter, and both projections of a MultiheadAttention; its name is what PEFT looks up."""
    record = make_record({"layers.0.q_proj": LOW, names[0]: LOW, names[1]: HIGH})
    linear, *others = record.modules
    others = [msgspec.structs.replace(module, kind=kind) for module in others]
    ranks = module_ranks.suggest(msgspec.structs.replace(record, modules=(linear, *others)))
    assert [(row.name, row.sharing, row.suggested_rank) for row in ranks.modules] == [
        ("layers.0.q_proj", 1, 1),
        (owner, 2, 9),
    ]
    assert ranks.params_suggested == 128 * (1 + 9 + 9)
    check_lookup(ranks)


def test_a_linear_out_proj_stands_for_itself(make_record: MakeRecord) -> None:
    """Only that of torch's MultiheadAttention is wrapped together with another."""
    assert [row.name for row in module_ranks.suggest(make_record({"layers.0.out_proj": LOW})).modules] == [
        "layers.0.out_proj"
    ]
