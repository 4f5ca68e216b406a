"""`hf://`: the Hub's own client fetches into the Hub's own cache, and answers from it where the Hub is away."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gradience.errors import InputError
from gradience.references import contents
from gradience.references.reference import Reference
from gradience.references.resolver import Fetched
from gradience_hub.place import Place

TIMEOUT_S: Final = 10.0  # to the first byte; HF_HUB_DOWNLOAD_TIMEOUT bounds the rest


class HubResolver:
    """Fetches only what is asked for of a repository; a token is found where huggingface_hub finds it."""

    def fetch(self, reference: Reference) -> Fetched:
        """The adapter's files in the snapshot of its commit."""
        place = Place.of(reference)
        folder = _snapshot(reference, place, contents.patterns(reference))
        if not (folder / (reference.file or contents.CONFIG)).is_file():
            contents.chosen(_paths(place, folder), reference)
        return Fetched(folder=folder, shown=reference.shown)

    def fetch_model(self, reference: Reference) -> Fetched:
        """The model's config and weights in the snapshot of its commit."""
        folder = _snapshot(reference, Place.of(reference), contents.MODEL_PATTERNS)
        if not any(folder.glob("*.safetensors")):
            raise _cannot(reference, "it holds no model in safetensors")
        return Fetched(folder=folder, shown=reference.shown)


def _snapshot(reference: Reference, place: Place, patterns: Iterable[str]) -> Path:
    """The place's folder in the Hub's own cache, with its files that match."""
    import huggingface_hub
    from huggingface_hub import errors

    within = f"{place.folder}/" if place.folder else ""
    try:
        with _without_warning():
            snapshot = huggingface_hub.snapshot_download(
                place.repo,
                revision=place.revision,
                allow_patterns=[within + pattern for pattern in patterns],
                etag_timeout=TIMEOUT_S,
                library_name="gradience",
            )
    except errors.GatedRepoError:
        raise _cannot(reference, "it is gated; ask for access on its page, then `hf auth login`") from None
    except errors.RepositoryNotFoundError:
        raise _cannot(reference, "there is no such repository, or it is private: `hf auth login`") from None
    except errors.RevisionNotFoundError:
        raise _cannot(reference, f"there is no revision {place.revision!r}") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise _cannot(
            reference, "the Hub cannot be reached, and it is not in the cache; fetch it while online"
        ) from None
    return Path(snapshot, place.folder)


@contextmanager
def _without_warning() -> Iterator[None]:
    """A repository without an adapter is refused here; the Hub's client would warn of it in words of its own."""
    logger = logging.getLogger("huggingface_hub._snapshot_download")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _paths(place: Place, folder: Path) -> list[str]:
    """Every path in the folder, by the Hub's own list; what was fetched, where that cannot be had."""
    from huggingface_hub import HfApi, errors

    try:
        names = HfApi().list_repo_files(place.repo, revision=place.revision)
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError):
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    within = f"{place.folder}/" if place.folder else ""
    return [name.removeprefix(within) for name in names if name.startswith(within)]


def _cannot(reference: Reference, why: str) -> InputError:
    return InputError(f"cannot fetch {reference.shown}: {why}")
