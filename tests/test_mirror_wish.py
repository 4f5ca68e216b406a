from pathlib import Path

import pytest

from gradience.errors import InputError
from gradience.mirror.live import wish
from gradience.testing import MemorySink
from gradience.testing.folder import FolderSink

FOLDER = "gradience.testing.folder:FolderSink"


def test_a_mapping_names_the_sink_and_its_options(tmp_path: Path) -> None:
    """Everything but `type` goes to the sink."""
    (wanted,) = wish.read([{"type": FOLDER, "root": str(tmp_path)}])
    assert (wanted.name, wanted.options) == (FOLDER, {"root": str(tmp_path)})
    assert isinstance(wanted.sink(), FolderSink)


def test_given_options_count_more_than_inherited_ones(tmp_path: Path) -> None:
    """What somebody wrote down is not overruled by what happens to be active."""
    (wanted,) = wish.read([{"type": FOLDER, "root": str(tmp_path)}])
    assert wanted.sink(root="elsewhere").target == str(tmp_path)


def test_a_sink_object_is_taken_as_it_is() -> None:
    """Whoever has one may hand it over."""
    sink = MemorySink()
    (wanted,) = wish.read([sink])
    assert (wanted.name, wanted.sink()) == ("memory", sink)


@pytest.mark.parametrize(
    ("sinks", "words"),
    [
        (["no-such-sink"], "No sink named 'no-such-sink' is installed"),
        ([{"type": FOLDER, "rot": "x"}], "does not take rot"),
        ([{"tracking_uri": "x"}], "give {'type': 'mlflow', ...}"),
        ([{"type": FOLDER, "root": object()}], "not plain values"),
        ([42], "cannot mirror to int"),
        ([MemorySink(), MemorySink()], "cannot mirror twice to memory"),
        (["no.such.module:Sink"], "'no', which is missing"),
    ],
)
def test_a_mistake_is_refused_in_one_line(sinks: list[object], words: str) -> None:
    """At once, not when the first event is long gone."""
    with pytest.raises(Exception, match=r"^[^\n]*$") as refusal:
        wish.read(sinks)
    assert words in str(refusal.value)


class Needy(MemorySink):
    """A sink with an option that it cannot do without."""

    def __init__(self, *, address: str) -> None:
        super().__init__()
        self.address = address


def test_options_that_are_missing_are_a_mistake_too() -> None:
    """A sink that needs an option says which."""
    with pytest.raises(InputError, match="missing a required argument: 'address'"):
        wish.read([f"{__name__}:Needy"])


@pytest.mark.parametrize("sinks", ["mlflow", {"type": "mlflow"}])
def test_one_sink_is_a_list_of_one(sinks: object) -> None:
    """A text is a sequence as well: its letters are no sinks."""
    with pytest.raises(TypeError, match=r"it takes a list, such as \["):
        wish.read(sinks)  # type: ignore[arg-type]
