"""`wandb://entity/project/artifact:alias`, fetched by a process of its own: wandb prompts, and it logs in."""

from collections.abc import Mapping
from typing import Final

from gradience.references import child
from gradience.references.reference import Reference
from gradience.references.resolver import Fetched

_ENV: Final[Mapping[str, str]] = {
    "WANDB_SILENT": "true",  # stdout belongs to data, and silence asks for no login
    "WANDB_ERROR_REPORTING": "false",
}


class ArtifactResolver:
    """Fetches an artifact's adapter files; the login is found where wandb finds it."""

    def fetch(self, reference: Reference) -> Fetched:
        """The adapter's files of the version that the alias names now."""
        return child.fetch("gradience_wandb.artifact:Artifact", reference, _ENV)
