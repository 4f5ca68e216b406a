"""Rules as data: ours are whole, a policy file changes them, and every mistake in one is named."""

import json
import re
import string
from pathlib import Path
from string import Formatter
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from gradience.cli.main import group
from gradience.errors import ConfigError, InputError
from gradience.policy import audit_rules, catalogue, check, detectors, monitor, regression, verification
from gradience.policy.catalogue import overrides, schema
from gradience.policy.rule import Rule, code, codes
from gradience.report import rule_text
from gradience.vnext.types import Severity

ROOT = Path(__file__).parents[1]
FINDERS = [
    *codes(check.RULES),
    *codes(audit_rules.UNMEASURED),
    *codes(audit_rules.GATES),
    *codes(audit_rules.RULES),
    *codes(monitor.RULES),
    *codes(regression.RULES),
    *codes(verification.RULES),
]
EXAMPLES = sorted((ROOT / "configs" / "policies").glob("*.yaml"))
RULES = list(catalogue.shipped().rules.values())


def written(folder: Path, text: str) -> Path:
    """A policy file."""
    path = folder / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_entry_has_its_function_and_every_function_its_entry() -> None:
    """Neither words without a condition, nor a condition that says nothing; a detector may have both."""
    assert sorted({*FINDERS, *detectors.CODES}) == sorted(catalogue.shipped().rules)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_a_finding_names_its_test_or_is_certain(rule: Rule) -> None:
    """What is a guess says what would refute it; every sentence ends, and none judges."""
    assert rule.confidence == "certain" or (rule.hypothesis and (rule.test or rule.limits))
    said = [text for text in (rule.condition, rule.message, rule.hypothesis, rule.test, rule.limits) if text]
    assert all(text.endswith((".", "?", "}")) for text in said)
    assert not re.search(r"\b(wasted|unused|optimal|healthy)\b", " ".join(said))


@pytest.mark.parametrize("phase", catalogue.PHASES)
def test_every_threshold_says_why(phase: str) -> None:
    """In a comment beside it."""
    lines = (ROOT / "gradience" / "policy" / "catalogue" / f"{phase}.yaml").read_text(encoding="utf-8").splitlines()
    numbers = [line for line in lines if re.match(r"    \w+: -?[0-9.]", line)]
    assert len(numbers) == sum(len(rule.thresholds) for rule in RULES if rule.phase == phase)
    assert [line for line in numbers if "  # " not in line] == []


def test_the_page_of_rules_is_made_from_the_rules() -> None:
    """`python -m gradience.report.rule_page > docs/RULES.md` writes it anew."""
    assert rule_text.page(RULES) == (ROOT / "docs" / "RULES.md").read_text(encoding="utf-8")


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    """Thresholds one by one, severity, and whether the rule is heard; what was changed is noted."""
    file = written(
        tmp_path,
        "over_provisioned: {thresholds: {share_of_r_max: 25e-2}, severity: warning}\n"
        "batch_large_for_lora: {enabled: no}\n",
    )
    ours, theirs = catalogue.shipped().rules, catalogue.load(file).rules
    changed = theirs["over_provisioned"]
    assert changed.thresholds == {"share_of_r_max": 0.25, "r_min": 8}
    assert (changed.severity, changed.changed) == (Severity.WARNING, ("share_of_r_max", "severity"))
    assert theirs["batch_large_for_lora"].enabled is False
    others = ours.keys() - {"over_provisioned", "batch_large_for_lora"}
    assert all(theirs[name] == ours[name] for name in others)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "flat_spectrum: {}\n"])
def test_a_file_that_names_nothing_changes_nothing(tmp_path: Path, text: str) -> None:
    """It is a policy all the same."""
    assert catalogue.load(written(tmp_path, text)).rules == catalogue.shipped().rules


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    """Line, key, and the nearest valid name."""
    text = (
        "over_provisond: {enabled: true}\n"
        "flat_spectrum:\n"
        "  thresholds: {k99_share: 1}\n"
        "  sevrity: info\n"
        "  severity: loud\n"
        "dead_modules: 3\n"
        "rank1_dominated:\n"
        "  thresholds:\n"
        "    r_min: many\n"
        "  enabled: perhaps\n"
        "rank1_dominated: {}\n"
    )
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        catalogue.load(file)
    assert [mistake.removeprefix(f"{file}:") for mistake in caught.value.mistakes] == [
        "1: over_provisond: there is no such rule; over_provisioned is near",
        "3: flat_spectrum.thresholds.k99_share: there is no such threshold; k99_share_min is near",
        "4: flat_spectrum.sevrity: there is no such field; severity is near",
        "5: flat_spectrum.severity: it takes info, warning or error",
        "6: dead_modules: is no mapping; it takes thresholds, severity, enabled",
        "11: rank1_dominated: it stands on line 7 too; keep one",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- flat_spectrum\n", "no mapping"),
        ("a: [1\n", "no YAML"),
        ("!!python/object/apply:os.system ['touch pwned']\n", "no mapping"),
        ("a: " + "[" * 5000, "no YAML"),
    ],
)
def test_what_is_no_policy_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """In one line, and nothing in it is run."""
    with pytest.raises(InputError, match=says) as caught:
        catalogue.load(written(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_policies(example: Path) -> None:
    """Each of their entries changes something."""
    changed = [rule for rule in catalogue.load(example).rules.values() if rule.changed]
    assert changed


@pytest.fixture(scope="module")
def validator() -> Any:
    """Checks a document against the checked-in schema."""
    checked_in = json.loads(Path(schema.__file__).with_name("schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(checked_in)
    return jsonschema.Draft202012Validator(checked_in)


def test_the_checked_in_schema_is_that_of_the_rules(validator: Any) -> None:
    """`python -m gradience.policy.catalogue.schema > gradience/policy/catalogue/schema.json` makes it so."""
    assert validator.schema == json.loads(json.dumps(schema.json_schema(catalogue.shipped())))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_editor_accepts_the_examples(validator: Any, example: Path) -> None:
    """Their first line tells it where the schema is."""
    text = example.read_text(encoding="utf-8")
    named = text.splitlines()[0].partition("$schema=")[2]
    assert (example.parent / named).resolve() == Path(schema.__file__).with_name("schema.json")
    assert validator.is_valid(yaml.safe_load(text))


@given(st.sampled_from(RULES), st.text(string.ascii_lowercase + "_", min_size=1, max_size=12))
@settings(max_examples=50)
def test_a_key_that_nobody_knows_is_a_mistake(validator: Any, rule: Rule, key: str) -> None:
    """At every depth, for us as for the editor."""
    for known, document in (
        (catalogue.shipped().rules, {key: {"enabled": False}}),
        (overrides.FIELDS, {rule.code: {key: "info"}}),
        (rule.thresholds, {rule.code: {"thresholds": {key: 1}}}),
    ):
        if key in known:
            continue
        with TemporaryDirectory() as folder, pytest.raises(ConfigError, match=f"1: .*{key}: there is no such"):
            catalogue.load(written(Path(folder), json.dumps(document)))
        assert not validator.is_valid(document)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_explain_says_all_there_is(rule: Rule) -> None:
    """Meaning, source, thresholds and test of one rule, and the same as JSON."""
    result = CliRunner().invoke(group, ["explain", rule.code])
    assert result.exit_code == 0
    flat = " ".join(result.stdout.split())
    assert rule.condition in flat
    assert rule.source in flat
    assert all(f"{name} = " in flat for name in rule.thresholds)
    facts = {field for _, field, _, _ in Formatter().parse(rule.message) if field}
    assert all(re.split(r"[:.\[]", field)[0].upper() in flat for field in facts)


def test_explain_lists_every_rule() -> None:
    """And an unknown one is a mistake of usage, with the nearest name."""
    listed = CliRunner().invoke(group, ["explain"]).stdout
    assert all(rule.code in listed for rule in RULES)
    result = CliRunner().invoke(group, ["explain", "overfit_provisioned"])
    assert (result.exit_code, "did you mean over_provisioned?" in result.stderr) == (2, True)
    document = msgspec.json.decode(CliRunner().invoke(group, ["explain", "--json"]).stdout)
    assert [one["code"] for one in document["rules"]] == [rule.code for rule in RULES]


def test_the_name_of_a_function_is_the_code() -> None:
    """So that an entry finds it, and a reader too."""
    assert code(audit_rules.over_provisioned) == "over_provisioned"
