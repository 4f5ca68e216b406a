import json
from collections.abc import Callable

import click
import msgspec

from gradience.audit.record import AuditRecord
from gradience.policy import module_ranks
from gradience.report import module_ranks_text

MakeRecord = Callable[..., AuditRecord]


def test_the_settings_are_json_that_can_be_pasted(make_record: MakeRecord) -> None:
    """Of all modules, however few rows are shown; nothing in them steers the terminal."""
    record = make_record({"layers.0.q_proj": [1.0] * 4, "layers.1.\x1b[2Jq": [1.0, 0, 0, 0], "layers.2.q": [1.0] * 4})
    ranks = module_ranks.suggest(record)
    lines = [click.unstyle(line) for line in module_ranks_text.render(ranks, ranks.modules[:1])]
    assert "\x1b" not in "".join(lines)
    assert lines[3].split() == ["layers.0.q_proj", "4", "4", "4", "4", "100.0%"]
    start = lines.index("{")
    assert json.loads("\n".join(lines[start:])) == module_ranks.settings(ranks)
    assert "All of it: 1.5K -> 1.2K parameters" in lines[4]


def test_modules_that_share_a_rank_are_counted(make_record: MakeRecord) -> None:
    """One row for all of them says so."""
    ranks = module_ranks.suggest(make_record({"0.experts.w1": [1.0]}))
    row = msgspec.structs.replace(ranks.modules[0], sharing=8)
    assert "0.experts.w1 (8 share it)" in "\n".join(module_ranks_text.render(ranks, [row]))
