"""An audit as GitHub-flavoured Markdown, from the event payloads alone: a tracker's note, or `report.md`.

The verdict stands in the first line, because trackers fold a note after a few. The payloads may be anybody's: what is
not understood is left out, and text from them is escaped.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gradience.audit import columns
from gradience.audit.record import AuditRecord, AuditSummary, BaseRelative, GroupSummary
from gradience.errors import InputError
from gradience.policy import ranks
from gradience.policy.rule import confidence_word
from gradience.report import advised, commands
from gradience.report.audit_text import VERDICTS, VERIFIED
from gradience.report.numbers import MISSING, count, fixed, megabytes, number, percent
from gradience.report.plain import plain
from gradience.vnext.types import Recommendation

# What trackers take for markup. The marks of Markdown get a backslash, which all of them understand; the rest becomes
# an entity, because some would show a backslash there. Addresses and @names become links by themselves.
_MARKUP: Final = re.compile(r"[\\`*_{}\[\]|~#<>&$@]|(?<=\w):(?=//)|(?<=www)\.", re.IGNORECASE)
_ENTITIES: Final = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "$": "&#36;", "@": "&#64;", ":": "&#58;"}
_GAP: Final = "\u00a0\u00a0"  # before a cell: MLflow sets the columns of a table side by side without any
LIMIT: Final = 8000  # characters; the shortest limit among trackers' notes


def audit_note(audit_metrics: Mapping[str, Any], recommendation: Mapping[str, Any] | None) -> str:
    """The note of one audit: verdict, findings with their tests, candidate ranks, module types."""
    advice = recommendation or {}
    tables = _tables(audit_metrics, advice) or _bare(audit_metrics)
    parts = [_verdict(advice), *map(_finding, advised.recommendations(advice)), *tables]
    return _within("\n\n".join(part for part in parts if part))


def escaped(text: object) -> str:
    """Text that Markdown shows as it is, on one line: no markup of its own, no HTML, no link."""
    return _MARKUP.sub(lambda mark: _ENTITIES.get(mark[0], f"\\{mark[0]}"), plain(text))


def _verdict(advice: Mapping[str, Any]) -> str:
    verdict = advice.get("verdict")
    if verdict is None:
        return ""
    meaning = next((text for known, text in VERDICTS.items() if known == verdict), "")
    confidence = escaped(advice.get("confidence", "unknown"))
    tested = next(
        (f" Verified: {known}; {text}." for known, text in VERIFIED.items() if known == advice.get("verified")), ""
    )
    return f"**Verdict: {escaped(verdict)}** ({confidence} confidence){': ' * bool(meaning)}{meaning}.{tested}"


def _finding(finding: Recommendation) -> str:
    certainty = f"{finding.severity.value}, {confidence_word(finding.confidence)} confidence"
    parts = (("Hypothesis", finding.hypothesis), ("Test", finding.test), ("Limits", finding.limits))
    lines = [f"- **{label}.** {_spoken(text)}" for label, text in parts if text]
    return "\n".join([f"**{escaped(finding.action)}** ({certainty}). {_spoken(finding.message)}", "", *lines]).rstrip()


def _spoken(text: str) -> str:
    """A sentence, escaped but for the commands in it, which stand between backticks and are shown as such."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one that is never closed is no mark
        return escaped(text)
    return "".join(
        f"`{plain(part)}`" if index % 2 and part.strip() else escaped(part) for index, part in enumerate(parts)
    )


def _tables(metrics: Mapping[str, Any], advice: Mapping[str, Any]) -> list[str]:
    """The tables of an audit of ours; none for another producer's, of which only plain numbers can be shown."""
    try:
        record = columns.unpack(metrics)
        return [*_commands(record, advice), *_record(record, advice.get("suggested_rank"))]
    except (InputError, LookupError, ValueError):
        return []


def _commands(record: AuditRecord, advice: Mapping[str, Any]) -> list[str]:
    lines = commands.test(record.adapter.peft_dir, advice)
    return ["### To test it", "\n".join(["```bash", *lines, "```"])] if lines else []


def _record(record: AuditRecord, suggested: object) -> list[str]:
    adapter = record.adapter
    facts = (
        f"{adapter.kind} r={adapter.r}, alpha={number(adapter.lora_alpha)}, {record.summary.n_layers} modules, "
        f"{count(record.summary.total_lora_params)} parameters"
    )
    return [
        *_candidates(record, suggested),
        "### By module type",
        _types(record),
        "### By target",
        _targets(record),
        *_against_base(record),
        escaped(facts) + (f", adapter {escaped(adapter.fingerprint)}" if adapter.fingerprint else ""),
    ]


def _candidates(record: AuditRecord, suggested: object) -> list[str]:
    rows = [
        [
            f"**{row.rank}**" if row.rank == suggested else str(row.rank),
            percent(row.energy_kept),
            percent(row.relative_error),
            percent(row.worst_error),
            count(row.params),
            megabytes(row.size_bytes),
            MISSING if row.slot is None else str(row.slot),
        ]
        for row in ranks.candidates(record)
    ]
    header = ("rank", "energy kept", "relative error", "worst module", "params", "MB", "vLLM slot")
    return ["### Candidate ranks, for compression after training", _table(header, rows)] if rows else []


def _types(record: AuditRecord) -> str:
    groups: list[tuple[str, GroupSummary | AuditSummary, int]] = [
        *((name, group, group.params) for name, group in sorted(record.by_type.items())),
        ("all", record.summary, record.summary.total_lora_params),
    ]
    rows = [
        [
            escaped(name),
            str(group.n_layers),
            count(params),
            f"{number(group.energy_rank_95_p50)} / {number(group.energy_rank_95_p90)}",
            fixed(group.stable_rank_mean),
            percent(group.rank_waste),
        ]
        for name, group, params in groups
    ]
    return _table(("type", "modules", "params", "k@95 p50 / p90", "stable rank", "rank waste"), rows)


def _targets(record: AuditRecord) -> str:
    rows = [
        [
            escaped(group.name),
            str(group.n_layers),
            count(group.params),
            f"{number(group.energy_rank_95_p50)} / {number(group.energy_rank_95_p90)}",
            percent(group.energy_share),
            percent(group.rank_waste),
        ]
        for group in record.by_target
    ]
    return _table(("target", "modules", "params", "k@95 p50 / p90", "energy", "rank waste"), rows)


def _against_base(record: AuditRecord) -> list[str]:
    """How large the updates are beside the base weights, where these were measured."""
    groups: list[tuple[str, BaseRelative]] = [*sorted(record.by_type.items()), ("all", record.summary)]
    rows = [
        [
            escaped(name),
            str(group.n_layers_with_udr),
            *map(number, (group.udr_median, group.udr_p90, group.udr_max, group.udr_f_median)),
        ]
        for name, group in groups
        if group.n_layers_with_udr
    ]
    header = ("type", "modules", "UDR median", "p90", "max", "Frobenius median")
    return ["### Against the base model", _table(header, rows)] if rows else []


def _bare(metrics: Mapping[str, Any]) -> list[str]:
    numbers = [
        [escaped(key), number(value)]
        for key, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return [_table(("measure", "value"), numbers)] if numbers else []


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = [f"| {' | '.join([first, *(f'{_GAP}{cell}' for cell in rest)])} |" for first, *rest in [header, *rows]]
    return "\n".join([lines[0], f"| {' | '.join(rule)} |", *lines[1:]])


def _within(text: str) -> str:
    if len(text) <= LIMIT:
        return text
    return text[: text.rfind("\n", 0, LIMIT - 2)] + "\n…"
