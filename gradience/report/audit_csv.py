"""The modules of an audit as CSV (RFC 4180 with bare newlines): a header, then one row for each."""

import csv
import io
from collections.abc import Iterable
from typing import Final

from gradience.audit.record import AuditRecord, ModuleAudit
from gradience.report import module_rows

HEADER: Final = ("peft_dir", *module_rows.COLUMNS)  # the manual promises these names


def render(record: AuditRecord, rows: Iterable[ModuleAudit]) -> str:
    """Numbers to the last digit; an empty cell is what is not known. The last line has no newline."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HEADER)
    for module in rows:
        values = (module_rows.value(module, column) for column in module_rows.COLUMNS)
        table.writerow([record.adapter.peft_dir, *values])
    return text.getvalue().removesuffix("\n")
