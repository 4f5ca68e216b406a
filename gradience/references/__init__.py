"""Where an adapter is: a local path, or a reference that a library of its own ecosystem fetches into a cache.

    reference   what a text refers to, and how it is shown
    registry    who fetches which scheme: the entry-point group `gradience.references`
    resolver    the promise of whoever does
    contents    which files of a remote folder belong to an adapter
    cache       where they are kept
    child       resolvers whose library needs a process of its own
    fetching    all of it together

A local path never leaves this package: no resolver is looked up and nothing is imported for it.
"""

from gradience.references.fetching import fetch, fetch_model
from gradience.references.reference import Reference, parse
from gradience.references.resolver import Fetched

__all__ = ["Fetched", "Reference", "fetch", "fetch_model", "parse"]
