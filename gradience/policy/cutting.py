"""The rank of every module of a compressed adapter, from what was asked for and what an audit measured."""

import msgspec

from gradience.audit.record import AuditRecord
from gradience.errors import InputError
from gradience.policy import allocation, module_ranks
from gradience.policy.advice import advise
from gradience.policy.rule import Policy


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """One rank, an energy to be kept, a rank for each module, or nothing: then what the audit suggests."""

    rank: int | None = None
    energy: float | None = None
    per_layer: bool = False


def ranks(record: AuditRecord, wish: Wish, policy: Policy | None = None) -> dict[str, int]:
    """The ranks by module name.

    Raises:
        InputError: the adapter has no such rank, has learned nothing, or no rank is suggested for it.
    """
    if wish.per_layer:
        return _each(record)
    return dict.fromkeys((module.name for module in record.modules), _one(record, wish, policy))


def least(record: AuditRecord, energy: float) -> int:
    """The least rank for all modules at which the adapter keeps this share of its energy: Σσ² over all modules."""
    return allocation.uniform(module_ranks.items(record), energy)


def _one(record: AuditRecord, wish: Wish, policy: Policy | None) -> int:
    largest = max(module.r for module in record.modules)
    if wish.rank is not None and not 1 <= wish.rank <= largest:
        raise _refusal(record, f"it cannot get rank {wish.rank}", f"give a --rank from 1 to {largest}, its largest")
    if not any(module.delta_fro_norm for module in record.modules):
        raise _refusal(record, "its update is zero in all modules", "there is nothing to compress")
    if wish.rank is not None:
        return wish.rank
    return _suggested(record, policy) if wish.energy is None else least(record, wish.energy)


def _suggested(record: AuditRecord, policy: Policy | None) -> int:
    advice = advise(record, policy=policy)
    if advice.suggested_rank is not None:
        return advice.suggested_rank
    withheld = [one for one in advice.recommendations if one.action == "audit_abstained"]
    why = withheld[0].message.rstrip(".") if withheld else f"the audit suggests no rank below {advice.ranks.current_r}"
    raise _refusal(record, why[:1].lower() + why[1:], "say what to try: --rank N, --energy 0.95 or --per-layer")


def _each(record: AuditRecord) -> dict[str, int]:
    suggested = {row.name: row.suggested_rank for row in module_ranks.suggest(record).modules}
    return {module.name: suggested[module_ranks.owner(module)] for module in record.modules}


def _refusal(record: AuditRecord, wrong: str, mend: str) -> InputError:
    return InputError(f"cannot compress {record.adapter.peft_dir}: {wrong}; {mend}")
