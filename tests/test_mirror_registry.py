from pathlib import Path

import pytest

from gradience.errors import ExtraMissingError, InputError
from gradience.mirror import registry
from gradience.mirror.registry import Installed
from gradience.testing import MemorySink


def install(site: Path, distribution: str, **sinks: str) -> None:
    """Lay down the metadata of a distribution that offers sinks."""
    info = site / f"{distribution}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    entries = "\n".join(f"{name} = {value}" for name, value in sinks.items())
    (info / "entry_points.txt").write_text(f"[gradience.sinks]\n{entries}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_an_installed_sink_is_listed_with_its_owner(site: Path) -> None:
    """A record names the sink, the distribution that offers it, its version and where the class lives."""
    install(site, "diary-sink", diary="diary:Sink")
    assert Installed("diary", "diary-sink", "1.0", "diary:Sink") in registry.installed()
    assert "diary" in registry.names()


def test_load_makes_the_sink_of_a_name(site: Path) -> None:
    """A name leads to a new sink made with the options."""
    install(site, "diary-sink", diary="gradience.testing:MemorySink")
    assert isinstance(registry.load("diary", tracker=None), MemorySink)


def test_an_unknown_name_is_refused_with_what_is_there(site: Path) -> None:
    """The error names what is installed and, for a sink of ours, the extra."""
    install(site, "diary-sink", diary="diary:Sink")
    with pytest.raises(InputError, match=r"No sink named 'telex' is installed \(installed: .*diary.*\)"):
        registry.load("telex")


def test_a_name_that_two_distributions_claim_is_refused(site: Path) -> None:
    """Nothing decides between two claims but a person."""
    install(site, "diary-sink", diary="diary:Sink")
    install(site, "other-diary", diary="other:Sink")
    with pytest.raises(InputError, match="claimed by diary-sink and other-diary: uninstall one"):
        registry.load("diary")


def test_a_sink_whose_library_is_missing_says_which(site: Path) -> None:
    """A module that cannot be imported for want of another is an extra that is missing."""
    install(site, "diary-sink", diary="diary:Sink")
    (site / "diary.py").write_text("import ink_that_nobody_has\n")
    with pytest.raises(ExtraMissingError, match="Sink 'diary' needs 'ink_that_nobody_has'"):
        registry.load("diary")


def test_an_entry_that_points_nowhere_is_refused(site: Path) -> None:
    """A distribution's mistake is reported as its own."""
    install(site, "diary-sink", diary="gradience.testing:NoSuchSink")
    with pytest.raises(InputError, match="Sink 'diary' of diary-sink cannot be loaded"):
        registry.load("diary")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("os:sep", "is none: os:sep has not open, deliver, close"),
        ("mlflow:", "is none: give a name"),
        ("builtins:dict", "is none: builtins:dict has not open"),
        ("builtins:print", "is none: builtins:print has not open"),
        ("diary:Sink", "cannot be loaded from diary:Sink: division by zero"),
        ("moody:Sink", "refuses its options: not today"),
    ],
)
def test_what_is_no_sink_is_refused_in_one_line(site: Path, value: str, words: str) -> None:
    """Whatever a name leads to, and whatever happens as it is imported and made."""
    (site / "diary.py").write_text("1 / 0\n")
    moody = "class Sink:\n    def __init__(self): raise RuntimeError('not today')\n    open = deliver = close = None\n"
    (site / "moody.py").write_text(moody)
    with pytest.raises(InputError, match=f"^Sink '{value}' .*{words}"):
        registry.load(value)


def test_a_function_that_a_name_leads_to_is_not_called(site: Path, tmp_path: Path) -> None:
    """A list of sinks runs nothing: who writes `os:system` into one gets a refusal. A distribution may offer one."""
    with pytest.raises(InputError, match=r"^Sink 'os:system' .* is none: os:system has not open"):
        registry.load("os:system", command=f"touch {tmp_path / 'called'}")
    assert not (tmp_path / "called").exists()
    (site / "diaries.py").write_text("from gradience.testing import MemorySink\ndef make(): return MemorySink()\n")
    install(site, "diary-sink", diary="diaries:make")
    assert registry.load("diary").name == "memory"


def test_an_option_that_the_sink_does_not_take_is_refused(site: Path) -> None:
    """An option is never dropped in silence."""
    install(site, "diary-sink", diary="gradience.testing:MemorySink")
    with pytest.raises(InputError, match="does not take colour"):
        registry.load("diary", colour="red")


def test_a_sink_with_open_options_takes_any() -> None:
    """A constructor with **options decides for itself."""

    class Open(MemorySink):
        def __init__(self, **options: str) -> None:
            super().__init__()
            self.options = options

    assert registry.unknown_options(Open, {"colour": "red"}) == []
    assert registry.unknown_options(MemorySink, {"tracker": None, "colour": "red"}) == ["colour"]
