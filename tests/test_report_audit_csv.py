import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from gradience.audit.record import AuditRecord
from gradience.report import audit_csv

MakeRecord = Callable[..., AuditRecord]
MANUAL = Path(__file__).parents[1] / "docs" / "USER_MANUAL.md"


def _read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_module_is_a_row_of_exact_values(make_record: MakeRecord) -> None:
    """Numbers read back as they were; what is not known is empty."""
    record = make_record({"layers.0.q_proj": [3.0, 0.1], "layers.0.mlp": [0.0, 0.0]})
    rows = _read(audit_csv.render(record, record.modules))
    for row, module in zip(rows, record.modules, strict=True):
        assert (row["peft_dir"], row["name"], row["layer"]) == ("out/adapter", module.name, "0")
        assert (int(row["energy_rank_95"]), float(row["stable_rank"])) == (module.energy_rank_95, module.stable_rank)
    assert (rows[1]["sigma_1_over_2"], rows[1]["excess_norm"]) == ("", "")


def test_a_name_cannot_break_its_row(make_record: MakeRecord) -> None:
    """Separators, quotes and line breaks are quoted."""
    name = 'layers.0.a,b"c\nd'
    record = make_record({name: [1.0]})
    assert [row["name"] for row in _read(audit_csv.render(record, record.modules))] == [name]


def test_the_header_is_that_of_the_manual(make_record: MakeRecord) -> None:
    """Who reads columns by place or name can rely on it; a new one is a decision."""
    record = make_record({"layers.0.q_proj": [1.0]})
    header = audit_csv.render(msgspec.structs.replace(record, modules=()), ()).splitlines()
    (documented,) = re.findall(r"^(peft_dir,name,[\w,\n]+)^```$", MANUAL.read_text(encoding="utf-8"), re.MULTILINE)
    assert header == ["".join(documented.splitlines())]
