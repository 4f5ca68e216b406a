from collections.abc import Callable

import click

from gradience.audit.record import AuditRecord
from gradience.report import shape_text

MakeRecord = Callable[..., AuditRecord]


def _rows(record: AuditRecord) -> list[list[str]]:
    return [click.unstyle(line).split() for line in shape_text.render(record)]


def test_every_type_has_its_shape_and_all_of_them_together(make_record: MakeRecord) -> None:
    """σ = 4, 3 with ‖A‖ = √2 and ‖B‖ = 5: 625 / 337 directions, Σσ / σ₁ = 7 / 4, and (2 + 25) / 14 of excess."""
    rows = _rows(make_record({"layers.0.q_proj": [4.0, 3.0], "layers.1.mlp": [4.0, 3.0]}))
    assert ["attn", "1.85", "1.75", "1.333", "0.75", "0.2828", "0.50", "1.929"] in rows
    assert [row[0] for row in rows[3:6]] == ["attn", "mlp", "all"]
    assert " ".join(rows[-1]) == "Concentration of the energy: 0.5, where 0.5 would be even over 2 layers."


def test_what_does_not_exist_is_a_dash(make_record: MakeRecord) -> None:
    """Of an update of zero there are no ratios, and no word on its layers."""
    rows = _rows(make_record({"layers.0.q_proj": [0.0, 0.0], "layers.1.q_proj": [0.0, 0.0]}))
    assert rows[-1] == ["attn", "0.00", "0.00", "-", "0", "-", "0.50", "-"]
