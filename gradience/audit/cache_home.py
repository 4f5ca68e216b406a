"""Where things are kept that can be made again, under the name that the audit knows it by."""

from gradience.cache_home import VARIABLE, folder

__all__ = ["VARIABLE", "folder"]
