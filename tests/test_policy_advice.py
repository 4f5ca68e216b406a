from collections.abc import Callable

import msgspec
import pytest

from gradience.audit.record import AuditRecord
from gradience.policy import catalogue
from gradience.policy.advice import Advice, advise
from gradience.policy.audit_rules import Earlier, Run
from gradience.policy.rule import TEXT_LIMIT
from gradience.vnext.types import ConfigSnapshot, Recommendation, TrainingConfigSnapshot

MakeRecord = Callable[..., AuditRecord]

AMPLE = [8.0, 6.0, 4.0, 2.0, *[0.1] * 28]  # r = 32; four directions hold the energy
FULL = [2.0] * 16
DOMINATED = [10.0, *[0.5] * 7]
FORBIDDEN = ("wasted", "unused", "optimal", "healthy")


def planned(steps: int) -> Run:
    """A run of so many steps."""
    return Run(config=ConfigSnapshot(training=TrainingConfigSnapshot(max_steps=steps)))


def _codes(advice: Advice) -> list[str]:
    return [finding.action for finding in advice.recommendations]


def _finding(advice: Advice, code: str) -> Recommendation:
    return next(finding for finding in advice.recommendations if finding.action == code)


def test_an_ample_rank_is_worth_reviewing(make_record: MakeRecord) -> None:
    """95 % of the energy in an eighth of the rank: review, with the rank to compress to."""
    advice = advise(make_record({f"{i}.q_proj": AMPLE for i in range(4)}))
    assert (advice.verdict, advice.suggestion, advice.suggested_rank) == ("review", "compress", 4)
    assert (advice.codes, advice.confidence) == (("over_provisioned",), "medium")
    assert advice.energy_kept == pytest.approx(120 / 120.28)


def test_the_advice_to_compress_is_a_hypothesis_with_a_test_and_limits(make_record: MakeRecord) -> None:
    """The finding says that it is no advice on training, what would refute it, and which thresholds made it."""
    finding = _finding(advise(make_record({"0.q_proj": AMPLE})), "over_provisioned")
    assert "rank 4 (trained: 32)" in finding.message
    assert "gradience compress --rank 4" in str(finding.test)
    assert "Not shown: that training at rank 4 would do as well" in str(finding.limits)
    assert finding.evidence["thresholds"] == {"share_of_r_max": 0.5, "r_min": 8}


def test_low_utilization_alone_gives_no_verdict(make_record: MakeRecord) -> None:
    """One strong direction makes utilization tiny; with k@95 above r / 2 nothing is suggested."""
    advice = advise(make_record({"0.q_proj": [10.0, *[1.0] * 15]}))
    assert (advice.verdict, advice.suggested_rank) == ("ok", None)


def test_energy_decides_which_modules_count(make_record: MakeRecord) -> None:
    """Many modules with next to no energy do not hide that those which matter use their rank."""
    quiet = {f"{i}.q_proj": [1e-3, *[0.0] * 15] for i in range(9)}
    assert advise(make_record({**quiet, "9.q_proj": FULL})).suggested_rank is None


def test_an_untrained_adapter_is_an_error_and_nothing_else_is_said(make_record: MakeRecord) -> None:
    """B = 0 everywhere: no rank advice."""
    advice = advise(make_record({"0.q_proj": [0.0] * 16, "1.q_proj": [0.0] * 16}))
    assert (advice.verdict, advice.suggested_rank, advice.confidence) == ("error", None, "high")
    assert _codes(advice) == ["adapter_untrained"] == list(advice.codes)


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga", False])
def test_an_init_that_takes_from_the_base_withholds_rank_advice(make_record: MakeRecord, init: str | bool) -> None:
    """The factors of such an adapter hold pieces of the base: abstain, and say why."""
    advice = advise(make_record({"0.q_proj": AMPLE}, init_lora_weights=init))
    assert (advice.verdict, advice.suggestion, advice.suggested_rank) == ("abstain", "none", None)
    assert _codes(advice) == ["audit_abstained"]
    assert f"init_lora_weights={str(init).lower()}" in advice.recommendations[0].message


@pytest.mark.parametrize("init", [True, "gaussian", "eva", "orthogonal", "mica"])
def test_an_init_that_starts_at_zero_is_advised_on(make_record: MakeRecord, init: str | bool) -> None:
    """B @ A is zero before training under these, so the factors are the change."""
    assert advise(make_record({"0.q_proj": AMPLE}, init_lora_weights=init)).verdict == "review"


def test_an_early_checkpoint_withholds_rank_advice(make_record: MakeRecord) -> None:
    """Below a fifth of the planned steps the spectrum still forms."""
    record = make_record({"0.q_proj": AMPLE}, step=199)
    assert advise(record, run=planned(1000)).verdict == "abstain"
    assert advise(record, run=planned(900)).verdict == "review"
    assert advise(record).verdict == "review"


def test_a_run_that_learned_nothing_withholds_rank_advice(make_record: MakeRecord) -> None:
    """Its spectrum is as tidy as that of one that needs little."""
    advice = advise(make_record({"0.q_proj": AMPLE}), run=Run(never_improved=True))
    assert (advice.verdict, advice.suggested_rank) == ("abstain", None)
    assert "never improved" in advice.recommendations[0].message


def test_a_quantised_base_is_a_caveat_of_the_advice(make_record: MakeRecord) -> None:
    """The suggestion stands; a test of it needs the same base."""
    config = ConfigSnapshot(training=TrainingConfigSnapshot(extras={"load_in_4bit": True}))
    advice = advise(make_record({"0.q_proj": AMPLE}), run=Run(config=config))
    assert (advice.verdict, advice.suggested_rank) == ("review", 4)
    assert "quantized_base" in _codes(advice)


def test_a_spectrum_spread_over_the_whole_rank_suggests_a_probe(make_record: MakeRecord) -> None:
    """Flat everywhere: train once at a higher rank; no verdict on it, and low confidence."""
    advice = advise(make_record({f"{i}.q_proj": FULL for i in range(4)}))
    assert (advice.verdict, advice.suggestion, advice.confidence) == ("ok", "probe_higher_rank", "low")
    assert _codes(advice) == ["flat_spectrum"]


def test_one_dominating_direction_is_described_not_judged(make_record: MakeRecord) -> None:
    """rank1_dominated is info, and says that it is no evidence that the rank is too high."""
    finding = _finding(advise(make_record({"0.q_proj": DOMINATED})), "rank1_dominated")
    assert "no evidence that the rank is too high" in str(finding.limits)


def test_modules_that_hardly_moved_are_named(make_record: MakeRecord) -> None:
    """A module at less than 1 % of its type's median norm is listed; one of another type is not compared with it."""
    record = make_record({**{f"{i}.q_proj": FULL for i in range(5)}, "5.q_proj": [1e-4] * 16, "0.mlp": [1e-4] * 16})
    finding = _finding(advise(record), "dead_modules")
    assert finding.evidence["names"] == ["5.q_proj"]


def test_energy_in_one_of_many_layers_is_reported(make_record: MakeRecord) -> None:
    """HHI beyond three times the even spread."""
    spectra = {f"layers.{i}.q_proj": [0.1] * 8 for i in range(9)}
    advice = advise(make_record({**spectra, "layers.9.q_proj": [9.0] * 8}))
    assert _finding(advice, "energy_concentrated").evidence["top_layers"] == ["layers.9"]


def test_an_even_spread_over_two_layers_is_not_concentrated(make_record: MakeRecord) -> None:
    """The index is judged against the number of layers: 0.5 is even for two."""
    assert "energy_concentrated" not in _codes(advise(make_record({"layers.0.q_proj": FULL, "layers.1.q_proj": FULL})))


def test_norms_beyond_the_range_of_squares_are_weighed(make_record: MakeRecord) -> None:
    """Energies are taken relative to the largest norm, so 1e200 neither overflows nor hides the rest."""
    advice = advise(make_record({"0.q_proj": [value * 1e-200 for value in DOMINATED]}))
    assert "rank1_dominated" in _codes(advice)


@pytest.mark.parametrize("spectrum", [AMPLE, FULL, DOMINATED, [0.0] * 8])
def test_every_text_of_a_finding_fits_the_recorder(make_record: MakeRecord, spectrum: list[float]) -> None:
    """Advice stays under the redaction limit, and avoids words that say more than a spectrum can."""
    advice = advise(make_record({f"{i}.q_proj" + "x" * 150: spectrum for i in range(12)}))
    for finding in advice.recommendations:
        texts = [text for text in msgspec.to_builtins(finding).values() if isinstance(text, str)]
        assert max(map(len, texts)) < TEXT_LIMIT
        assert not [word for word in FORBIDDEN if word in " ".join(texts).lower()]


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"use_dora": True}, "DoRA"), ({"initial": "pissa_init", "init_lora_weights": "pissa"}, "difference of two")],
)
def test_a_spectrum_that_is_no_rank_of_the_factors_withholds_advice(
    make_record: MakeRecord, fields: dict[str, str | bool], says: str
) -> None:
    """DoRA's direction, and the difference from the adapter before training."""
    advice = advise(make_record({"0.q_proj": AMPLE}, **fields))
    assert (advice.verdict, advice.suggested_rank) == ("abstain", None)
    assert says in advice.recommendations[0].message
    assert "init_lora_weights" not in advice.recommendations[0].message


def test_a_policy_decides_what_is_worth_testing(make_record: MakeRecord) -> None:
    """Rank 4 of 32 is below an eighth only where the bar is lower; then nothing is suggested."""
    policy = catalogue.shipped().changed("over_provisioned", share_of_r_max=0.1)
    assert advise(make_record({"0.q_proj": AMPLE}), policy=policy).suggested_rank is None


@pytest.mark.parametrize(
    ("earlier", "verdict"),
    [
        (None, "review"),
        (Earlier(100, 4.0), "review"),
        (Earlier(100, 3.0), "review"),
        (Earlier(100, 6.0), "abstain"),
        (Earlier(200, 6.0), "review"),
        (Earlier(300, 6.0), "review"),
    ],
)
def test_a_spectrum_that_still_moves_withholds_advice(
    make_record: MakeRecord, earlier: Earlier | None, verdict: str
) -> None:
    """Since an audit of an earlier checkpoint, by more than a rank and a quarter; a later one says nothing of this."""
    record = make_record({"0.q_proj": [4.0] * 4 + [0.1] * 28}, step=200)
    assert advise(record, run=Run(earlier=earlier)).verdict == verdict


def test_a_kind_that_needs_its_rank_is_not_hidden_by_another(make_record: MakeRecord) -> None:
    """One quantile passes over experts with 7 % of the energy, which would lose most of it; apart they speak."""
    projections = {f"layers.{i}.q_proj": AMPLE for i in range(8)}
    record = make_record({**projections, "layers.0.mlp.experts.up[0]": [1.5] * 32})
    *rest, expert = record.modules
    apart = msgspec.structs.replace(record, modules=(*rest, msgspec.structs.replace(expert, kind="expert")))
    assert (advise(record).suggested_rank, advise(apart).suggested_rank) == (4, None)


def test_adalora_has_chosen_its_ranks_already(make_record: MakeRecord) -> None:
    """What it pruned is zero by design, so that its spectrum suggests no rank."""
    advice = advise(make_record({"0.q_proj": AMPLE}, peft_type="ADALORA"))
    assert (advice.verdict, advice.suggested_rank) == ("abstain", None)
    assert "AdaLoRA" in advice.recommendations[0].message


def test_an_update_that_is_nothing_beside_its_weight_hardly_moved(make_record: MakeRecord) -> None:
    """Its type may be as quiet as it is; where no module moved, none is left behind."""
    record = make_record({f"layers.{i}.{kind}": FULL for i in range(2) for kind in ("q_proj", "up_proj")})

    def beside(*quiet: str) -> list[str]:
        ratios = (1e-5 if any(name in one.name for name in quiet) else 1e-2 for one in record.modules)
        moved = (msgspec.structs.replace(m, udr_f=ratio) for m, ratio in zip(record.modules, ratios, strict=True))
        return _codes(advise(msgspec.structs.replace(record, modules=tuple(moved))))

    assert "dead_modules" in beside("q_proj")
    assert "dead_modules" not in beside("q_proj", "up_proj")
    assert "dead_modules" not in beside()
