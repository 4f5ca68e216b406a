"""Broken sink lists: every mistake is named at once, each with its place, and no value is shown."""

from typing import Literal

import pytest

from gradience.errors import ConfigError
from gradience.mirror import config, registry
from gradience.testing import MemorySink

FOLDER = "gradience.testing.folder:FolderSink"
SECRET = "squeamish-ossifrage"  # noqa: S105 - what must not be seen anywhere


class Mailbox(MemorySink):
    """A sink that needs an address, and quotes one that it does not like."""

    def __init__(
        self,
        *,
        address: str,
        severity: str = "warning",
        post: Literal["air", "sea"] | None = None,  # noqa: ARG002
    ) -> None:
        if not address.startswith("mailto:"):
            raise ValueError(f"{address} is no address for {severity}")
        super().__init__()


MAILBOX = f"{__name__}:Mailbox"

BROKEN = {
    "no YAML": ("sinks: [mlflow", ["1: no YAML: expected ',' or ']', but got '<stream end>' in column 15"]),
    "a tab": ("sinks:\n\t- x", ["2: no YAML: found character '\\t' that cannot start any token in column 1"]),
    "nothing": ("# to be done\n", ["1: holds nothing"]),
    "two documents": ("- x\n---\n- y\n", ["2: begins a second document: give one"]),
    "another file": ("model: x\nsink: []\n", ["1: has no key `sinks`, and is no list of sinks; `sink` is near"]),
    "one sink": ("sinks: {type: mlflow}", ["1: sinks: is no list"]),
    "itself": ("sinks: &all [*all]", ["1: sinks[0]: holds too much, or itself"]),
    "unknown names": (
        f"""
- type: {FOLDER}
  rooot: {SECRET}
  flush_intervall_s: 3
- no-such-sink
- {{typ: {FOLDER}}}
- {{}}
- [a]
- 5
-
- {{mlflow: {{experiment: x}}}}
""",
        [
            "3: [0].rooot: no such key of a sink of type gradience.testing.folder:FolderSink; root?",
            "4: [0].flush_intervall_s: no such key of a sink of type {folder}; flush_interval_s?",
            "5: [1]: no sink named 'no-such-sink' is installed (installed: ",
            "6: [2]: has no `type`, which names the sink; is `typ` meant?",
            "7: [3]: has no `type`, which names the sink (installed: ",
            "8: [4]: is a list: a sink is a name, or a mapping with `type`",
            "9: [5]: is a number",
            "10: [6]: is empty",
            "11: [7]: has no `type`, which names the sink: write `type: mlflow`, and its options beside that",
        ],
    ),
    "wrong values": (
        f"""
sinks:
  - type: {FOLDER}
    root: [{SECRET}]
    name: {{a: {SECRET}}}
    batch_lines: 0
    flush_interval_s: -5
    retry_max_s: {SECRET}
    close_timeout_s: .nan
    events: [alert, alrt, {SECRET}]
    rename: {{train/loss: x, train/lr: x}}
    options:
      tracking_uri: !secret {SECRET}
      close_timeout_s: 3
      root: {SECRET}
""",
        [
            "4: sinks[0].root: expected text, found a list",
            "5: sinks[0].name: expected text, found a mapping",
            "6: sinks[0].batch_lines: expected a whole number >= 1",
            "7: sinks[0].flush_interval_s: expected a number >= 0.05",
            "8: sinks[0].retry_max_s: expected a number, found text",
            "9: sinks[0].close_timeout_s: expected a number >= 0.0",
            "10: sinks[0].events[1]: no such event; alert?",
            "10: sinks[0].events[2]: no such event; there are run_start, train_step, eval, ",
            "11: sinks[0].rename: gives two metrics one name",
            "13: sinks[0].options.tracking_uri: has a tag that sink lists do not have",
            "14: sinks[0].options.close_timeout_s: is no option of the sink: it stands beside `type`",
            "15: sinks[0].options.root: stands in the entry itself, too: keep one",
        ],
    ),
    "variables": (
        f"""
- type: {FOLDER}
  root: ${{NOT_SET}}/${{NEITHER}}
- type: {FOLDER}
  root: ${{NOT SET}}
- type: {MAILBOX}
  address: ${{WORD}}
- type: ${{WORD}}
- type: {MAILBOX}
  address: ${{EMPTY:-}}
""",
        [
            "3: [0].root: needs the environment variable NEITHER, which is not set",
            "3: [0].root: needs the environment variable NOT_SET, which is not set: or ${NOT_SET:-...}",
            "5: [1].root: has a `${` that begins no variable",
            f"6: [2]: Sink {MAILBOX!r} refuses its options: ${{WORD}} is no address for warning",
            "8: [3].type: no sink named '${WORD}' is installed",
            "9: [4]: lacks `address`, without which a sink of type ",
        ],
    ),
    "twice": (
        f"- {{type: {FOLDER}, root: a}}\n- type: {FOLDER}\n  root: b\n  root: a\n- {{type: {FOLDER}, root: ./a}}\n",
        ["4: [1].root: stands on line 3 too: keep one", "5: [2]: leads to the same target as [0] on line 1"],
    ),
    "one of few": (
        f"- {{type: {MAILBOX}, address: 'mailto:me', post: rail}}\n",
        ["1: [0].post: expected one of 'air', 'sea'"],
    ),
    "values of other kinds": (
        f"""
- {{type: {FOLDER}, root: "\\ud800"}}
- {{type: {FOLDER}, batch_lines: !!bool maybe, retry_max_s: !!int "", close_timeout_s: 1e999}}
- {{type: {FOLDER}, <<: 5}}
- {{type: {FOLDER}, root: c, [a]: b}}
- {{type: os:sep}}
- {{type: {FOLDER}, root: d, name: "red \\e[31m"}}
- {{type: {FOLDER}, root: e, rename: {{train/loss: train/lr, train/grad_norm: train/loss}}}}
""",
        [
            "2: [0].root: has characters that are no text",
            "3: [1].batch_lines: cannot be read as its tag says: bool",
            "3: [1].close_timeout_s: is none of the values that it takes",
            "3: [1].retry_max_s: cannot be read as its tag says: int",
            "4: [2].<<: is no mapping, so that it cannot be merged",
            "5: [3]: has a key that is no text",
            "6: [4].type: Sink 'os:sep' of this environment is none",
            "7: [5].name: has characters that steer a terminal",
            "8: [6].rename: gives the name of train/lr to another metric: rename that one, too",
        ],
    ),
    "no text": ("- \x00", ["1: no YAML: a character that no text file has (#x0000)"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_mistake_is_named_at_once(name: str) -> None:
    """With its file and line, where it stands in the list, and what was probably meant; and nothing else is said."""
    text, expected = BROKEN[name]
    with pytest.raises(ConfigError) as refusal:
        config.parse(text, "sinks.yaml", {"WORD": SECRET, "EMPTY": ""})
    mistakes = refusal.value.mistakes
    assert [mistake for mistake in mistakes if "\n" in mistake] == []
    assert len(mistakes) == len(expected)
    for mistake, beginning in zip(mistakes, expected, strict=True):
        assert mistake.startswith(
            f"sinks.yaml:{beginning.format(folder=FOLDER) if '{folder}' in beginning else beginning}"
        )
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("option", ["rooot", "batchlines", "active_run"])
def test_a_name_that_is_nearly_right_hides_no_other_mistake(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry is held against the sink that was probably meant, so that one reading is enough."""
    offered = registry.Installed("folder", "somebody", "1", FOLDER)
    monkeypatch.setattr(registry, "installed", lambda: (offered,))
    with pytest.raises(ConfigError) as refusal:
        config.parse(f"- type: foldr\n  {option}: x", "f", {})
    first, second = refusal.value.mistakes
    assert first == "f:1: [0].type: no sink named 'foldr' is installed; folder?"
    assert second.startswith(f"f:2: [0].{option}: no such key of a sink of type folder; ")


def test_no_key_is_proposed_that_only_looks_alike() -> None:
    """All are named instead."""
    with pytest.raises(ConfigError, match=r"\.enabled: no such key of a sink of type mlflow; there are tracking_uri, "):
        config.parse("- {type: mlflow, enabled: false}", "f", {})


def test_a_mistake_has_no_full_stop() -> None:
    """Whoever found it; a line is no sentence among others."""
    with pytest.raises(ConfigError, match=r"has no attribute 'No'$"):
        config.parse("- gradience.testing:No", "f", {})


def test_several_mistakes_are_counted() -> None:
    """One is a line of its own."""
    with pytest.raises(ConfigError, match=r"^2 mistakes in f\.yaml:\nf\.yaml:1: .*\nf\.yaml:2: "):
        config.parse("- x\n- y", "f.yaml", {})


def test_a_short_file_cannot_stand_for_an_endless_list() -> None:
    """Aliases to aliases: refused within a moment."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    text = "\n".join([*lines, f"sinks: [{{type: {FOLDER}, root: *i}}]"])
    with pytest.raises(ConfigError, match=r"^f:10: sinks\[0\]: holds too much"):
        config.parse(text, "f", {})
    with pytest.raises(ConfigError, match="nested too deep"):
        config.parse("sinks: " + "[" * 2_000, "f", {})
