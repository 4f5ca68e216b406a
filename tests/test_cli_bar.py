"""The bar of a long measurement: late, only on a terminal, and gone at the end."""

import io

import pytest

from gradience.cli.bar import AFTER_S, Bar


class Terminal(io.StringIO):
    """Something that looks like one."""

    def isatty(self) -> bool:
        """It does."""
        return True


class Clock:
    """Time that passes when it is told to."""

    now = 1e9

    def __call__(self) -> float:
        """The time."""
        return self.now


def drawn(file: io.StringIO, *seconds: float) -> str:
    """What was written when each tenth of the work took so long."""
    clock = Clock()
    with Bar("measuring", file=file, clock=clock) as bar:
        for done, taken in enumerate(seconds, 1):
            clock.now += taken
            bar(done, 10)
    return file.getvalue()


def test_quick_work_has_no_bar() -> None:
    """Nothing flashes up."""
    assert drawn(Terminal(), *[AFTER_S / 20] * 10) == ""


def test_a_log_has_no_bar() -> None:
    """Control characters belong on a terminal."""
    assert drawn(io.StringIO(), *[AFTER_S] * 10) == ""


def test_long_work_shows_how_far_it_is_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share that is done; the line is cleared and the cursor comes back."""
    monkeypatch.setenv("COLUMNS", "80")
    text = drawn(Terminal(), *[AFTER_S] * 5)
    assert "measuring" in text
    assert "50%" in text
    assert "\n" not in text
    assert text.endswith("\r\x1b[K\x1b[?25h")


@pytest.mark.parametrize("total", [300, 2])
def test_a_second_stretch_of_work_begins_anew(total: int) -> None:
    """The weights of a base model after the modules of the adapter, which mostly are as many."""
    clock, file = Clock(), Terminal()
    with Bar("measuring", file=file, clock=clock) as bar:
        bar(1, 2)
        clock.now += 2 * AFTER_S
        bar(2, 2)
        before = len(file.getvalue())
        bar(0, total)
        clock.now += 2 * AFTER_S
        bar(total // 2, total)
    assert "100%" in file.getvalue()[:before]
    assert "50%" in file.getvalue()[before:]
