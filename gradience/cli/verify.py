"""`gradience verify`: whether a compressed adapter is as good as its original, by somebody's own evaluation."""

import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import msgspec

from gradience import references
from gradience.audit.disk import adapter
from gradience.audit.record import AdapterInfo
from gradience.cli import delivery, keep, landing, output, verify_input, verify_trial
from gradience.cli.journals import Journal
from gradience.cli.keep import Keeping
from gradience.cli.landing import Entry, Note
from gradience.cli.options import Sectioned, taken
from gradience.cli.verify_input import Input, Judging
from gradience.cli.verify_trial import COMPRESSED, ORIGINAL, Trial
from gradience.errors import InputError
from gradience.evaluation import command as commands
from gradience.evaluation import metric, paired, verdict, verification
from gradience.evaluation.verdict import Tolerance
from gradience.evaluation.verification import Conduct, Verification
from gradience.mirror import origin
from gradience.policy import catalogue
from gradience.policy import verification as rules
from gradience.policy.rule import Policy, codes
from gradience.references import Fetched
from gradience.report import verification_text
from gradience.vnext.types import Recommendation

WORD = "verification"


class _Adapters(msgspec.Struct, frozen=True, kw_only=True):
    """Where the two are, what they say about themselves, and the journal of the run that the original belongs to."""

    places: dict[str, Fetched]
    subjects: dict[str, AdapterInfo]
    journal: Journal | None

    @property
    def paths(self) -> dict[str, Path]:
        """As a command finds them from any directory."""
        return {side: place.folder.absolute() for side, place in self.places.items()}


@click.command(cls=Sectioned)
@verify_input.evaluation
@verify_input.judging
@keep.options
@output.json_option
@output.policy_option
@output.fail_on_option
def command(*, as_json: bool, policy_file: Path | None, fail_on: str | None, **given: Any) -> None:
    """Run your own evaluation on an adapter and on its compressed form, and say whether the second is as good.

    The result becomes part of the recorded run that the original belongs to, where its JSONL is found; --log-to tells
    a tracker, whose run gets the tag gradience.verified. Exit code 3 when the compressed adapter is worse.
    """
    asked, judging, keeping = taken(Input, given), taken(Judging, given), taken(Keeping, given)
    policy = catalogue.load(policy_file)
    output.known_bar(fail_on, codes(rules.RULES))
    allowed = _checked(asked, judging, keeping, policy)
    adapters = _adapters(asked, keeping)
    trial = verify_trial.run(asked, judging, adapters.paths)
    found = _judged(trial, asked.command, allowed, _direction(trial, judging), adapters)
    findings = rules.judge(found, policy=policy)
    if not as_json:
        output.lines(verification_text.render(found, findings))
    _keep(found, findings, adapters, keeping, as_json=as_json)
    output.enforce(findings, fail_on)
    if found.verified == "fail":
        sys.exit(output.FINDINGS)


def _checked(asked: Input, judging: Judging, keeping: Keeping, policy: Policy) -> Tolerance:
    """What can be refused before anything is run."""
    try:
        commands.check(asked.command, shell=asked.shell)
        allowed = verdict.tolerance(judging.tolerance, rules.usual(policy))
    except InputError as error:
        raise click.UsageError(str(error)) from error
    keep.check(keeping, asked.original, asked.compressed)
    if judging.repeats > 1 and not judging.seed_variable and not commands.uses(asked.command, commands.SEED):
        output.talk("The repeats have no seed: name {seed} in --command or give --seed-variable, if it takes one.")
    return allowed


def _adapters(asked: Input, keeping: Keeping) -> _Adapters:
    given = {ORIGINAL: asked.original, COMPRESSED: asked.compressed}
    places = {side: references.fetch(place, tracker=keeping.tracking_uri) for side, place in given.items()}
    subjects = {side: _identified(place) for side, place in places.items()}
    if subjects[ORIGINAL].fingerprint == subjects[COMPRESSED].fingerprint:
        raise InputError(f"cannot verify {asked.compressed}: it is the same adapter as {asked.original}")
    return _Adapters(places=places, subjects=subjects, journal=keep.recorded(places[ORIGINAL], keeping))


def _identified(place: Fetched) -> AdapterInfo:
    with place.named():
        info = adapter.identify(place.folder)
    return msgspec.structs.replace(info, peft_dir=place.shown)


def _direction(trial: Trial, judging: Judging) -> bool:
    told = trial.original[0].measure.higher_is_better
    for known in (judging.higher_is_better, told, metric.is_better_up(trial.metric)):
        if known is not None:
            return known
    raise InputError(f"whether more {trial.metric} is better is not known: add --higher-is-better or --lower-is-better")


def _judged(
    trial: Trial, command_line: str, allowed: Tolerance, higher_is_better: bool, adapters: _Adapters
) -> Verification:
    conduct = Conduct(
        metric=trial.metric,
        command=command_line,
        seeds=trial.seeds,
        original_values=[one.measure.value for one in trial.original],
        compressed_values=[one.measure.value for one in trial.compressed],
        original_seconds=fmean(one.seconds for one in trial.original),
        compressed_seconds=fmean(one.seconds for one in trial.compressed),
        tolerance_stated=not allowed.is_usual,
    )
    found = paired.difference(trial.pairs, is_share=metric.is_share(trial.metric))
    judged = verdict.judge(found, allowed, higher_is_better=higher_is_better)
    return verification.of(judged, conduct, adapters.subjects[ORIGINAL], adapters.subjects[COMPRESSED])


def _keep(
    found: Verification, findings: list[Recommendation], adapters: _Adapters, keeping: Keeping, *, as_json: bool
) -> None:
    note = _note(found, adapters.subjects[ORIGINAL])
    landed = landing.land(adapters.journal, note) if adapters.journal else None
    delivered: list[delivery.Delivered] = []
    try:
        delivered = keep.deliver(landed, keeping, adapters.places[ORIGINAL], what=WORD) if landed else []
    finally:  # the verification is done and kept, whatever a tracker says
        if as_json:
            told = {"findings": msgspec.to_builtins(findings), **keep.told(landed, delivered)}
            output.document({"schema": verification.DOCUMENT_SCHEMA, **verification.metrics(found), **told})
    if found.verified != "fail":
        keep.enforce(keeping, delivered)


def _note(found: Verification, original: AdapterInfo) -> Note:
    """Without an identity: measured again is measured anew."""
    payload = {"kind": verification.KIND, "metrics": verification.metrics(found)}
    return Note(adapter=original, maker=origin.VERIFY, entries=(Entry(event="metrics", payload=payload),))
