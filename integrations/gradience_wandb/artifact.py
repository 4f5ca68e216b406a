"""One artifact through wandb's public API, which starts no run; imported only in a process of its own."""

import logging
import re
from typing import Any, Final

from gradience.errors import InputError
from gradience.references import cache, contents
from gradience.references.reference import Reference
from gradience.references.resolver import Fetched
from gradience_wandb.sink import WandbSink

log = logging.getLogger("gradience.wandb")

TIMEOUT_S: Final = 20  # of one answer
_FORM: Final = re.compile(r"(?P<name>(?:[^/:]+/){1,2}[^/:]+)(?P<version>:[^/:]+)?(?:/(?P<folder>.+))?")


class Artifact:
    """The resolver that runs in the child."""

    def fetch(self, reference: Reference) -> Fetched:
        """The adapter's files of the version, kept by the digest of the artifact."""
        name, folder = _named(reference)
        import wandb

        artifact = wandb.Api(timeout=TIMEOUT_S).artifact(name)
        called = folder.rpartition("/")[2] or name.rpartition("/")[2].partition(":")[0]
        place = cache.place("wandb", [str(artifact.digest), folder, reference.file or ""], called)
        within = f"{folder}/" if folder else ""
        paths = [path.removeprefix(within) for path in artifact.manifest.entries if path.startswith(within)]
        wanted = contents.chosen(paths, reference)
        if not cache.holds(place, wanted):
            with cache.staging() as staged:
                for path in wanted:
                    artifact.get_entry(within + path).download(root=str(staged))
                cache.settle(staged / folder, place)
        return Fetched(folder=place, shown=reference.shown, runs=_runs(artifact))


def _runs(artifact: Any) -> dict[str, str]:
    """The run that logged the artifact, where W&B tells; a deleted one costs no audit."""
    try:
        run = artifact.logged_by()
    except Exception as error:  # noqa: BLE001  # found by default, and of no use to the files
        log.debug("the run that logged %s cannot be told: %s", artifact.name, error)
        return {}
    return {WandbSink.name: "/".join(run.path)} if run is not None else {}


def _named(reference: Reference) -> tuple[str, str]:
    """The artifact, as wandb calls it, and the folder in it.

    Raises:
        InputError: the reference does not have the form.
    """
    found = _FORM.fullmatch(reference.rest)
    if found is None or ".." in reference.rest.split("/"):
        form = "wandb://[ENTITY/]PROJECT/ARTIFACT[:ALIAS][/FOLDER]"
        raise InputError(f"cannot fetch {reference.shown}: an artifact is written {form}")
    return found["name"] + (found["version"] or ":latest"), found["folder"] or ""
