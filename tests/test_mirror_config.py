"""Sink lists from Python, from the environment and from files; `test_mirror_config_mistakes` has the broken ones."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gradience.errors import ConfigError, InputError
from gradience.mirror import config
from gradience.mirror.wish import Wish
from gradience.testing import MemorySink
from gradience.testing.folder import FolderSink

FOLDER = "gradience.testing.folder:FolderSink"


class Typed(MemorySink):
    """A sink with options of many types."""

    def __init__(
        self,
        *,
        address: str,
        port: int = 80,
        ratio: float = 1.0,
        full: bool = False,
        artifacts: Sequence[str] = ("audit",),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.address = address
        self.rest = (port, ratio, full, artifacts, headers)

    @property
    def target(self) -> str:
        """Where it leads."""
        return self.address


TYPED = f"{__name__}:Typed"


def one(text: str, **env: str) -> Wish:
    """The only wish of a file."""
    (wanted,) = config.parse(text, "sinks.yaml", env).wishes
    return wanted


def test_a_mapping_names_the_sink_and_its_options(tmp_path: Path) -> None:
    """What is no setting of the delivery goes to the sink."""
    (wanted,) = config.given([{"type": FOLDER, "root": str(tmp_path), "retry_max_s": 5}]).wishes
    assert (wanted.type, wanted.options, wanted.retry_max_s) == (FOLDER, {"root": str(tmp_path)}, 5.0)
    assert isinstance(wanted.sink(), FolderSink)


def test_given_options_count_more_than_inherited_ones(tmp_path: Path) -> None:
    """What somebody wrote down is not overruled by what happens to be active."""
    (wanted,) = config.given([{"type": FOLDER, "root": str(tmp_path)}]).wishes
    assert wanted.sink(root="elsewhere").target == str(tmp_path)


def test_a_sink_object_is_taken_as_it_is() -> None:
    """Whoever has one may hand it over."""
    sink = MemorySink()
    (wanted,) = config.given([sink]).wishes
    assert (wanted.label, wanted.sink()) == ("memory", sink)


def test_python_needs_no_escapes(tmp_path: Path) -> None:
    """Variables are for files: a mapping is taken as it is."""
    (wanted,) = config.given([{"type": FOLDER, "root": f"{tmp_path}/${{HOME}}$$"}]).wishes
    assert wanted.options["root"].endswith("/${HOME}$$")


@pytest.mark.parametrize(
    ("sinks", "words"),
    [
        (["no-such-sink"], "no sink named 'no-such-sink' is installed"),
        ([{"type": FOLDER, "rot": "x"}], "sinks[0].rot: no such key of a sink of type"),
        ([{"typo": FOLDER}], "sinks[0]: has no `type`, which names the sink; is `typo` meant?"),
        ([{"type": FOLDER, "root": object()}], "sinks[0].root: is not a plain value"),
        ([42], "sinks[0]: is a number"),
        ([MemorySink(), MemorySink()], "sinks[1]: leads to the same target as sinks[0]"),
        (["no.such.module:Sink"], "'no', which is missing"),
        ([TYPED], "sinks[0]: lacks `address`"),
        ([{"type": TYPED, "address": "x", "headers": {"a": object()}}], "sinks[0].headers: is not a plain"),
    ],
)
def test_a_mistake_is_refused_in_one_line(sinks: list[object], words: str) -> None:
    """At once, not when the first event is long gone."""
    with pytest.raises(ConfigError, match=r"^[^\n]*$") as refusal:
        config.read(sinks)
    assert words in str(refusal.value)


def test_a_tracker_has_one_entry_unless_runs_are_named() -> None:
    """Where a run is one tracked run, a second entry with other events would find everything delivered."""
    place = "type: gradience.testing.folder:FolderSink, root"
    again = f"- {{{place}: 'a#one'}}\n- {{{place}: 'a#two'}}\n- {{{place}: 'b#one'}}\n"
    with pytest.raises(ConfigError, match=r"^f:2: \[1\]: leads to the tracker of \[0\] on line 1, .* name a `run`"):
        config.parse(again, "f", {})
    named = [{"type": ELSEWHERE, "run": run} for run in ("first", "second")]
    assert [wish.sink().target for wish in config.read(named).wishes] == ["memory:#run=first", "memory:#run=second"]


class Elsewhere(MemorySink):
    """A sink that can be told the tracked run."""

    def __init__(self, *, run: str) -> None:
        super().__init__()
        self._run = run

    @property
    def target(self) -> str:
        """The tracked run in a tracker."""
        return f"memory:#run={self._run}"


ELSEWHERE = f"{__name__}:Elsewhere"


def test_a_mistake_in_the_environment_is_said_to_be_there() -> None:
    """Whoever gave no sinks would look for it in vain."""
    with pytest.raises(ConfigError, match=r"^GRADIENCE_SINKS\[0\]: no sink named 'nosuch'"):
        config.read(None, {"GRADIENCE_SINKS": "nosuch"})


@pytest.mark.parametrize("sinks", [{"type": "mlflow"}, 5])
def test_one_sink_is_a_list_of_one(sinks: object) -> None:
    """A mapping would be gone through by its keys."""
    with pytest.raises(TypeError, match=r"it takes a list, such as \["):
        config.read(sinks)


def test_names_may_stand_in_one_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an environment variable has them; what looks like a file is one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.yaml").write_text(f"[{FOLDER}]", encoding="utf-8")
    assert [wish.type for wish in config.read(f" {FOLDER}, {TYPED[:-5]}Needless,").wishes] == [FOLDER, NEEDLESS]
    assert [wish.type for wish in config.read("list.yaml").wishes] == [FOLDER]
    assert [wish.source for wish in config.read(Path("list.yaml")).wishes] == ["list.yaml"]


class Needless(MemorySink):
    """A sink without options."""


NEEDLESS = f"{__name__}:Needless"


def test_a_list_and_the_sinks_of_a_larger_file_are_the_same() -> None:
    """Of somebody's training configuration nothing else is looked at, whatever tags it has."""
    entries = f"- {NEEDLESS}\n- {{type: {FOLDER}, root: a, flush_interval_s: 2}}\n"
    larger = f"base: !include other.yaml\nlr: 1e-4\nlr: 2e-4\nsinks:\n{entries}"
    assert config.parse(entries, "f", {}).wishes == config.parse(larger, "f", {}).wishes
    assert len(config.parse(entries, "f", {}).wishes) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_a_pipe_is_no_file_of_sinks(tmp_path: Path) -> None:
    """Nobody may ever write into it: refused at once."""
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(InputError, match=r"cannot read sinks from .*pipe\.yaml: no regular file"):
        config.load(tmp_path / "pipe.yaml")


def test_a_list_may_be_empty() -> None:
    """Every entry commented out is a way to switch mirroring off."""
    assert config.parse("sinks:\n#  - mlflow\n", "f", {}).wishes == ()
    assert config.parse("[]", "f", {}).wishes == ()


def test_every_setting_of_an_entry_is_read() -> None:
    """Each field of a wish that a file can have."""
    text = f"""
    - type: {TYPED}
      name: office
      address: here
      options: {{port: 81}}
      events: [alert]
      rename: {{train/loss: loss}}
      batch_lines: 10
      flush_interval_s: 2.5
      retry_max_s: 20
      close_timeout_s: 0
    """
    wanted = one(text)
    assert wanted == Wish(
        type=TYPED,
        name="office",
        options={"address": "here", "port": 81},
        events=("alert",),
        rename={"train/loss": "loss"},
        batch_lines=10,
        flush_interval_s=2.5,
        retry_max_s=20.0,
        close_timeout_s=0.0,
        source="sinks.yaml",
    )
    assert {name for name in Wish.__struct_fields__ if getattr(wanted, name) is None} == {"made"}
    assert wanted.label == "office"


@pytest.mark.parametrize(
    ("written", "option", "read"),
    [
        ("0123", "address", "0123"),
        ("2024-01-01", "address", "2024-01-01"),
        ("yes", "address", "yes"),
        ("1.50", "address", "1.50"),
        ("1e3", "ratio", 1000.0),
        ('"1e3"', "ratio", 1000.0),
        ("1_000", "port", 1000),
        ("${PORT}", "port", 8080),
        ("${PORT:-5}", "ratio", 8080.0),
        ("${FULL:-true}", "full", True),
        ("on", "full", True),
        ("[a, 7]", "artifacts", None),
        ("[a, '7']", "artifacts", ["a", "7"]),
        ("{a: b}", "headers", {"a": "b"}),
    ],
)
def test_a_value_is_read_as_its_option_has_it(written: str, option: str, read: Any) -> None:
    """What YAML takes for a date, a number or a truth is text where text is meant, and the other way round."""
    rest = "" if option == "address" else "\n  address: x"
    text = f"- type: {TYPED}\n  {option}: {written}{rest}"
    if read is None:
        with pytest.raises(ConfigError, match=r"artifacts\[1\]: expected text, found a whole number"):
            one(text)
    else:
        assert one(text, PORT="8080").options[option] == read


def test_what_is_empty_is_not_given() -> None:
    """Also what a variable has emptied: the sink's own default stands."""
    assert one(f"- type: {TYPED}\n  address: x\n  port:\n  headers: ${{NONE:-}}", NONE="").options == {"address": "x"}


def test_defaults_may_be_merged() -> None:
    """YAML's own way to say something once; what the entry says itself counts more."""
    text = f"defaults: &all {{retry_max_s: 9, port: 1}}\nsinks:\n- <<: *all\n  type: {TYPED}\n  address: x\n  port: 2"
    wanted = one(text)
    assert (wanted.retry_max_s, wanted.options) == (9.0, {"address": "x", "port": 2})


def test_a_secret_in_plain_text_is_worth_a_remark() -> None:
    """It can be used; the remark has a name for a variable, and not the secret."""
    text = f"- type: {FOLDER}\n  root: http://me:hunter22@host\n"
    (remark,) = config.parse(text, "f.yaml", {}).remarks
    assert remark.startswith("f.yaml:2: [0].root: a secret in plain text")
    assert "hunter22" not in remark
    text = f"- type: {TYPED}\n  address: https://hooks.slack.com/services/T0/B0/abcdefgh\n"
    assert len(config.parse(text, "f.yaml", {}).remarks) == 1
    assert config.parse(f"- type: {FOLDER}\n  root: ${{ROOT}}\n", "f", {"ROOT": "http://a:b@c"}).remarks == ()


def test_a_wish_travels_to_another_process() -> None:
    """As JSON, options and all."""
    wanted = one(f"- {{type: {FOLDER}, root: a, events: [eval], close_timeout_s: 3}}")
    assert msgspec.json.decode(msgspec.json.encode(wanted), type=Wish) == wanted


def test_no_yaml_is_imported_for_sinks_that_stand_in_no_file() -> None:
    """A recorder must be cheap to make."""
    program = "import sys; from gradience.mirror import config; config.given([]); sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
