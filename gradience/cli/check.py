"""`gradience check`: read a configuration from files and options, and say what is worth a second look."""

from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from gradience.cli import output
from gradience.cli.path import A_PATH
from gradience.policy import catalogue
from gradience.policy import check as checking
from gradience.policy.rule import codes
from gradience.report import check_text
from gradience.settings import snapshot, sources, task
from gradience.vnext.types import ConfigSnapshot, TaskProfile

SCHEMA: Final = "gradience.check/v1"
# Which reader understands what an option names; the first source that gives a field wins.
READERS: Final[Mapping[str, Callable[[Path], dict[str, Any]]]] = {
    "config": sources.settings,
    "peft": sources.adapter,
    "peft_dir": sources.adapter,
    "training": sources.training,
    "training_dir": sources.training,
}


@click.command()
@click.argument("config", type=A_PATH, required=False)
@click.option("--peft", type=A_PATH, help="An adapter_config.json (or .yaml).")
@click.option("--peft-dir", type=A_PATH, help="A directory that PEFT saved.")
@click.option("--training", type=A_PATH, help="Training arguments as JSON or YAML.")
@click.option("--training-dir", type=A_PATH, help="A directory with training_args.json, .yaml or trainer_state.json.")
@click.option("--task", "task_name", metavar="T", help="What is trained: a dataset (sst2) or a kind (generation, dpo).")
@click.option("--task-profile", type=click.Choice([one.value for one in TaskProfile]), help="The profile itself.")
@click.option("--dataset", metavar="NAME")
@click.option("--model", metavar="NAME")
@click.option("--optimizer", metavar="NAME")
@click.option("--lr", type=float)
@click.option("--weight-decay", type=float)
@click.option("--r", type=int)
@click.option("--alpha", type=float)
@click.option("--target-modules", "--targets", multiple=True, metavar="NAMES", help="Separated by commas or spaces.")
@output.verbose_option
@output.json_option
@output.policy_option
@output.fail_on_option
def command(*, as_json: bool, verbose: bool, policy_file: Path | None, fail_on: str | None, **given: Any) -> None:
    """Look over a configuration before any step is taken.

    CONFIG is a JSON or YAML file with all settings; the other options name parts of them. What is given on the command
    line wins over files; CONFIG wins over the adapter's settings, and those over the training arguments. The three
    worst findings are shown, all of them with --verbose.
    """
    output.known_bar(fail_on, codes(checking.RULES))
    config = _config(given)
    found = checking.check(config, policy=catalogue.load(policy_file))
    if as_json:
        document = {"schema": SCHEMA, "config": config.to_dict(), "recommendations": msgspec.to_builtins(found)}
        output.document(document)
    else:
        output.lines(check_text.render(config, found, verbose=verbose))
    output.enforce(found, fail_on)


def _config(given: Mapping[str, Any]) -> ConfigSnapshot:
    read = [reader(given[option]) for option, reader in READERS.items() if given[option] is not None]
    parts = [part for part in [_overrides(given), *read] if part]
    if not parts:
        raise click.UsageError(
            "nothing to check: give --peft-dir, --training-dir, a CONFIG file, or options such as --lr"
        )
    config = ConfigSnapshot.from_dict(reduce(snapshot.fill, parts))
    return config if config.task_profile is not TaskProfile.UNKNOWN else _profiled(config)


def _overrides(given: Mapping[str, Any]) -> dict[str, Any]:
    named = given["task_name"]
    dataset = given["dataset"] or (None if named is None or task.is_kind(named) else named)
    flat = {
        "model_name": given["model"],
        "dataset_name": dataset,
        "task_profile": given["task_profile"],
        **{name: given[name] for name in ("optimizer", "lr", "weight_decay", "r", "alpha")},
        "target_modules": ",".join(given["target_modules"]) or None,
    }
    if not any(value is not None for value in flat.values()) and named is None:
        return {}
    canonical = snapshot.canonical(flat)
    return {**canonical, "extras": {"task": named}} if named else canonical


def _profiled(config: ConfigSnapshot) -> ConfigSnapshot:
    names = (config.extras.get("task"), config.dataset_name, config.lora.extras.get("task_type"))
    profiles = (task.profile(name) for name in names if isinstance(name, str))
    known = (profile for profile in profiles if profile is not TaskProfile.UNKNOWN)
    return msgspec.structs.replace(config, task_profile=next(known, TaskProfile.UNKNOWN))
