"""An adapter against the one that it is to replace: facts that hardly any better adapter would show.

The rules are few and wide on purpose. They catch what went wrong on the way (modules lost, never trained, blown up or
faded out), and none of them says that an adapter is good: only an evaluation does.
"""

from typing import Any, Final

import msgspec

from gradience.audit.record import AuditRecord
from gradience.errors import InputError
from gradience.policy import catalogue
from gradience.policy.audit_event import DOCUMENT_SCHEMA
from gradience.policy.rule import Finder, Match, Policy, Thresholds
from gradience.vnext.types import Recommendation

FAMILY: Final = "regression"  # `--fail-on regression` means any of the codes below
_UNTRAINED: Final = ("untrained", "untrained_modules")  # issues of an audit


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What of an audit is compared. `sigma_max` is the largest of any module, `fro_norm` that of all together."""

    peft_dir: str
    fingerprint: str | None
    energy_level: float
    n_layers: int
    total_lora_params: int
    has_untrained: bool
    rank_waste: float
    sigma_max: float
    fro_norm: float


class RegressionCase(msgspec.Struct, frozen=True, kw_only=True):
    """The adapter in question, and the one before."""

    now: Facts
    before: Facts


class _Document(msgspec.Struct, kw_only=True):
    """The fields of a saved `gradience audit --json` that are read."""

    schema: str
    peft_dir: str
    energy_level: float
    n_layers: int
    total_lora_params: int
    rank_waste: float
    delta_sigma_max: float
    delta_fro_norm: float
    adapter: dict[str, Any] = {}
    issues: list[str] = []


def of(record: AuditRecord) -> Facts:
    """The facts of an audit."""
    summary = record.summary
    return Facts(
        peft_dir=record.adapter.peft_dir,
        fingerprint=record.adapter.fingerprint,
        energy_level=record.energy_level,
        n_layers=summary.n_layers,
        total_lora_params=summary.total_lora_params,
        has_untrained=_tells_untrained(record.issues),
        rank_waste=summary.rank_waste,
        sigma_max=summary.delta_sigma_max,
        fro_norm=summary.delta_fro_norm,
    )


def read(raw: bytes, place: str) -> Facts:
    """The facts of a saved audit, a document that `gradience audit --json` printed.

    Raises:
        InputError: it is something else.
    """
    try:
        said = msgspec.json.decode(raw, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _no_audit(place, str(error).partition("\n")[0]) from None
    if said.schema != DOCUMENT_SCHEMA:
        raise _no_audit(place, f"its schema is {said.schema[:80]!r}")
    fingerprint = said.adapter.get("fingerprint")
    return Facts(
        peft_dir=said.peft_dir,
        fingerprint=fingerprint if isinstance(fingerprint, str) else None,
        energy_level=said.energy_level,
        n_layers=said.n_layers,
        total_lora_params=said.total_lora_params,
        has_untrained=_tells_untrained(said.issues),
        rank_waste=said.rank_waste,
        sigma_max=said.delta_sigma_max,
        fro_norm=said.delta_fro_norm,
    )


def judge(now: Facts, before: Facts, *, policy: Policy | None = None) -> list[Recommendation]:
    """What is worse than before, worst first.

    Raises:
        InputError: the two were audited at different energy levels, so that their rank waste differs anyway.
    """
    if now.energy_level != before.energy_level:
        raise InputError(
            f"cannot compare with {before.peft_dir}: it was audited at energy level {before.energy_level}, not "
            f"{now.energy_level}; give the same --energy-level"
        )
    return (policy or catalogue.shipped()).findings(RULES, RegressionCase(now=now, before=before))


def regression_untrained(case: RegressionCase, _: Thresholds) -> Match | None:
    """Modules whose update is zero, where there were none."""
    return Match() if case.now.has_untrained and not case.before.has_untrained else None


def regression_modules(case: RegressionCase, _: Thresholds) -> Match | None:
    """Fewer modules than before."""
    now, before = case.now.n_layers, case.before.n_layers
    return Match(facts={"modules": now, "modules_before": before}) if now < before else None


def regression_rank_waste(case: RegressionCase, limits: Thresholds) -> Match | None:
    """A larger share of the parameters carries almost nothing."""
    now, before = case.now.rank_waste, case.before.rank_waste
    if now - before <= limits["rise_max"]:
        return None
    return Match(facts={"rank_waste": now, "rank_waste_before": before})


def regression_spectral_norm(case: RegressionCase, limits: Thresholds) -> Match | None:
    """The strongest direction of any module is a multiple of what it was."""
    now, before = case.now.sigma_max, case.before.sigma_max
    if not before or now <= limits["factor_max"] * before:
        return None
    return Match(facts={"sigma_max": now, "sigma_max_before": before, "factor": now / before})


def regression_vanished(case: RegressionCase, limits: Thresholds) -> Match | None:
    """The whole update is a fraction of what it was."""
    now, before = case.now.fro_norm, case.before.fro_norm
    if not before or now >= limits["share_min"] * before:
        return None
    return Match(facts={"fro_norm": now, "fro_norm_before": before, "share": now / before})


def _tells_untrained(issues: tuple[str, ...] | list[str]) -> bool:
    return any(issue.partition(":")[0] in _UNTRAINED for issue in issues)


def _no_audit(place: str, why: str) -> InputError:
    return InputError(
        f"cannot compare with {place}: it is no saved audit ({why}); give an adapter, or what `gradience audit --json` "
        "printed"
    )


RULES: Final[tuple[Finder[RegressionCase], ...]] = (
    regression_untrained,
    regression_modules,
    regression_rank_waste,
    regression_spectral_norm,
    regression_vanished,
)
