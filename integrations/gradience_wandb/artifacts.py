"""An audit on its run: the artifact with `audit.json` and `report.md`, and the table of its modules."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import wandb

from gradience.mirror.audits import AUDIT_FILE, REPORT_FILE, Publication

AUDIT, REPORT = "audit", "report"  # what may be uploaded
PARTS: Final = (AUDIT, REPORT)
_FILES: Final = {AUDIT: AUDIT_FILE, REPORT: REPORT_FILE}


def name(run_id: str) -> str:
    """The artifact of a W&B run; each audit is a version of it."""
    return f"gradience-audit-{run_id}"


def artifact(found: Publication, run_id: str, parts: Collection[str]) -> wandb.Artifact:
    """The files of a publication, as far as they are wanted."""
    made = wandb.Artifact(name(run_id), type="gradience-audit")
    texts = {AUDIT: found.document, REPORT: found.note}
    for part in PARTS:
        if part in parts:
            with made.new_file(_FILES[part], encoding="utf-8") as file:
                file.write(texts[part])
    return made


def table(columns: Mapping[str, list[Any]]) -> wandb.Table:
    """The modules of an audit, one in a row."""
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return wandb.Table(columns=list(columns), data=rows, allow_mixed_types=True)
