"""What is printed of several audits: rows as they come, or a table when all are there."""

from pathlib import Path
from typing import Any

import click
import msgspec

from gradience.batch import row, table
from gradience.batch.row import Row
from gradience.batch.work import Answer
from gradience.cli import output
from gradience.cli.audit_view import View
from gradience.policy.rule import at_or_above
from gradience.report import batch_csv, batch_text, order, sarif
from gradience.vnext.types import Recommendation


class Sheet:
    """Keeps no more of the answers than the output needs, so that many fit into memory."""

    def __init__(self, view: View, fail_on: str | None) -> None:
        self._view, self._bar = view, fail_on
        self._rows: list[Row] = []
        self._answers: list[Answer] = []
        self.met: dict[str, Recommendation] = {}  # one finding for each code that meets the bar
        self.has_refused = False

    def take(self, answer: Answer) -> None:
        """Note one, or print it where that can be done at once."""
        self.has_refused = self.has_refused or answer.row.error is not None
        if self._bar is not None:
            self.met.update({one.action: one for one in at_or_above(answer.findings, self._bar)})
        if self._view.format == "jsonl":
            click.echo(msgspec.json.encode(table.line(answer.row)))
        elif self._view.format == "sarif":
            self._answers.append(answer)
        else:
            self._rows.append(answer.row)

    def show(self, arguments: dict[str, Any]) -> None:
        """Print what could not be printed before all were there; `arguments` are the options of the audits."""
        sort = self._view.sort
        rows = order.by(sort, self._rows, getattr) if sort else row.by_surplus(self._rows)
        if self._view.format == "json":
            output.document(table.document(rows, arguments, top=self._view.top))
        elif self._view.format == "sarif":
            output.document(sarif.document(sorted(self._answers, key=lambda one: one.place), Path.cwd()))
        elif self._view.format == "csv":
            output.lines(batch_csv.render(row.first(rows, self._view.top)))
        elif self._view.format == "text":
            output.lines(batch_text.render(rows, top=self._view.top))
