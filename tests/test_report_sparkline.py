import pytest

from gradience.curves.curve import Curve
from gradience.report.sparkline import sparkline


def _line(values: list[float], width: int, encoding: str | None = "utf-8") -> str:
    curve = Curve()
    curve.extend(range(len(values)), values)
    return sparkline(curve.buckets, width, encoding=encoding)


def test_a_curve_is_one_line_of_signs() -> None:
    """From the lowest to the highest; one that does not move lies at the bottom."""
    assert _line([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert _line([3, 3], 8) == "▁▁"
    assert _line([], 8) == ""


def test_a_long_curve_takes_no_more_room() -> None:
    """Neighbours are taken together, all of them."""
    assert _line([float(step // 100) for step in range(400)], 4) == "▁▃▆█"
    assert len(_line([float(step) for step in range(511)], 7)) == 7


@pytest.mark.parametrize("encoding", ["ascii", None, "unheard-of"])
def test_a_terminal_without_blocks_gets_other_signs(encoding: str | None) -> None:
    """Rather than an error."""
    assert _line([0, 1, 2, 3, 4, 5, 6, 7], 8, encoding) == "_.-:=+*#"
