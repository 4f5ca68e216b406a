from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradience.audit import ladder
from gradience.audit.record import AuditRecord
from gradience.policy import ranks

MakeRecord = Callable[..., AuditRecord]
spectra = st.lists(st.floats(0, 1e3), min_size=1, max_size=40).map(lambda values: sorted(values, reverse=True))


@given(st.lists(spectra, min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_suggestion_is_a_rung_that_is_not_below_its_energy_rank(
    make_record: MakeRecord, given_spectra: list[list[float]]
) -> None:
    """Suggested ranks are on the ladder, at least the energy rank they stand for, never 0 and never above r."""
    record = make_record({f"{i}.q_proj": values for i, values in enumerate(given_spectra)})
    asked = ranks.suggest(record)
    rungs = ladder.ranks(asked.current_r)
    assert asked.suggested_rank_median in rungs
    assert asked.suggested_rank_p90 in rungs
    assert asked.suggested_rank_median >= record.summary.energy_rank_p50
    assert asked.suggested_rank_p90 >= record.summary.energy_rank_p90_weighted


def test_a_rank_that_fills_its_ladder_is_suggested_as_it_is(make_record: MakeRecord) -> None:
    """k@95 of 141 in an adapter of rank 256 suggests 256, not the top of some shorter ladder."""
    record = make_record({"0.q_proj": [1.0] * 148 + [1e-6] * 108})
    assert ranks.suggest(record).suggested_rank_p90 == 256


def test_a_smaller_rank_is_suggested_up_to_half_of_the_trained_one(make_record: MakeRecord) -> None:
    """p90 of k@95 at exactly r / 2 is worth testing, and comes with the energy it keeps."""
    asked = ranks.suggest(make_record({"0.q_proj": [2.0, 2.0, 2.0, 2.0, 0.1, 0.1, 0.1, 0.1]}))
    assert asked.suggested_rank == 4
    assert asked.energy_kept == pytest.approx(16 / 16.04)


def test_no_smaller_rank_is_suggested_below_rank_eight(make_record: MakeRecord) -> None:
    """At r = 4 the grid is too coarse and the saving trivial."""
    asked = ranks.suggest(make_record({"0.q_proj": [9.0, 0.1, 0.1, 0.1]}))
    assert (asked.suggested_rank, asked.energy_kept) == (None, None)


def test_the_last_candidate_is_the_adapter_itself(make_record: MakeRecord) -> None:
    """At the trained rank nothing is lost and every parameter stays; sizes follow the stored type."""
    last = ranks.candidates(make_record({"0.q_proj": [3.0, 1.0], "1.q_proj": [2.0, 1.0]}))[-1]
    assert (last.rank, last.energy_kept, last.worst_error, last.params, last.size_bytes) == (2, 1.0, 0.0, 512, 2048)


def test_a_module_of_lower_rank_keeps_its_parameters_at_a_higher_candidate(make_record: MakeRecord) -> None:
    """With unequal ranks a cut to 4 leaves a module of rank 2 as it is."""
    record = make_record({"0.q_proj": [1.0] * 8, "1.q_proj": [1.0] * 2})
    by_rank = {row.rank: row.params for row in ranks.candidates(record)}
    assert by_rank == {1: 256, 2: 512, 4: 128 * 6, 8: 128 * 10}


def test_an_unknown_stored_type_gives_no_size(make_record: MakeRecord) -> None:
    """A size is never guessed."""
    assert ranks.candidates(make_record({"0.q_proj": [1.0]}, dtype="odd"))[0].size_bytes is None
