"""The resolvers that are installed, by scheme: the entry-point group `gradience.references`.

No resolver is imported until it is asked for. Schemes that nobody claims go to the resolver `fsspec`, which knows
dozens of file systems.
"""

from typing import TYPE_CHECKING, Final

from gradience.errors import InputError
from gradience.references.resolver import Resolver

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "gradience.references"
FALLBACK: Final = "fsspec"


def resolver(scheme: str) -> Resolver:
    """What fetches references of a scheme.

    Raises:
        InputError: nothing does, several distributions claim to, or what they offer cannot be loaded.
    """
    entry = _only(scheme)
    try:
        made: Resolver = entry.load()()
    except (ImportError, AttributeError) as broken:
        raise InputError(f"The resolver of {scheme}: cannot be loaded from {entry.value}: {broken}.") from None
    return made


def _only(scheme: str) -> "EntryPoint":
    from importlib import metadata  # brings an e-mail parser, which no command should wait for

    claims = {entry for name in (FALLBACK, scheme) for entry in metadata.entry_points(group=GROUP, name=name)}
    chosen = [entry for entry in claims if entry.name == scheme] or list(claims)
    if not chosen:
        raise InputError(f"nothing installed here fetches {scheme}: references; give a local directory")
    if len(chosen) > 1:
        owners = " and ".join(sorted(entry.dist.name if entry.dist else entry.value for entry in chosen))
        raise InputError(f"the scheme {scheme}: is claimed by {owners}: uninstall one of them")
    return chosen[0]
