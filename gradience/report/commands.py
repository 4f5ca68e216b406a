"""The commands that would test a suggestion, as a reader pastes them."""

import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

_EVALUATION: Final = "python evaluate.py --adapter {adapter}"  # the reader's own
_UNFIT: Final = re.compile(r"[`\x00-\x1f\x7f]")  # what no code block shows as it is


def test(peft_dir: str, advice: Mapping[str, Any]) -> list[str]:
    """Lines that compress the adapter to the suggested rank and evaluate both; none where that is not suggested."""
    rank = advice.get("suggested_rank")
    name = peft_dir.rstrip("/").rpartition("/")[2]
    if advice.get("suggestion") != "compress" or not isinstance(rank, int) or _UNFIT.search(peft_dir) or not name:
        return []
    adapter, compressed = shlex.quote(peft_dir), shlex.quote(f"{name}-r{rank}")
    return [
        f"gradience compress --peft-dir {adapter} --rank {rank} --out {compressed}",
        f"gradience verify --original {adapter} --compressed {compressed} \\",
        f"  --command {shlex.quote(_EVALUATION)}",
    ]
