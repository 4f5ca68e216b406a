"""The order of tables."""

from typing import Any

import pytest

from gradience.report import order

ROWS: list[dict[str, Any]] = [
    {"name": "b", "n": 1},
    {"name": "a", "n": None},
    {"name": "c", "n": 3},
    {"name": "d", "n": 1},
]


@pytest.mark.parametrize(("key", "names"), [("n", "cbda"), ("-n", "bdca"), ("name", "abcd"), ("-name", "dcba")])
def test_numbers_fall_and_text_rises(key: str, names: str) -> None:
    """Unless turned round; equals keep their order, and what is not known stands last."""
    found = order.by(key, ROWS, lambda row, column: row[column])
    assert "".join(row["name"] for row in found) == names
