"""Adapters in object stores and on other file systems; importing this package does not import fsspec."""

from gradience_fsspec.resolver import FsspecResolver

__all__ = ["FsspecResolver"]
