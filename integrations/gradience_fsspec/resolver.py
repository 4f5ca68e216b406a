"""`s3://`, `gs://`, `az://`, `https://` and whatever else fsspec knows.

A copy in the cache is taken again only where the file system tells that nothing changed: by tag, hash or time.
"""

from collections.abc import Mapping
from typing import Any, Final

from gradience.errors import InputError
from gradience.references import cache, contents
from gradience.references.reference import Reference
from gradience.references.resolver import Fetched

_SIGNS: Final = frozenset(  # what file systems call that which changes with a file's contents
    {"ETag", "etag", "md5", "md5Hash", "Content-MD5", "checksum", "generation", "version_id",
     "LastModified", "Last-Modified", "last_modified", "mtime", "modified", "updated", "created"}
)  # fmt: skip

Infos = Mapping[str, Mapping[str, Any]]  # what the file system says of each file, by its path within the folder


class FsspecResolver:
    """Fetches an adapter's files one by one; credentials are found where the file system's own library finds them."""

    def fetch(self, reference: Reference) -> Fetched:
        """The adapter's files, copied to our cache."""
        import fsspec

        try:
            system, root = fsspec.core.url_to_fs(reference.text)
        except ValueError as error:  # fsspec's own way to say that it does not know a scheme
            raise InputError(f"cannot fetch {reference.shown}: {str(error).rstrip('.')}") from None
        root = root.rstrip("/")
        infos = _infos(system, root, reference.shown)
        name = root.rpartition("/")[2]
        if all(_SIGNS & info.keys() for info in infos.values()):
            folder = cache.place(reference.scheme, _identity(reference, infos), name)
            if folder.is_dir():
                return Fetched(folder=folder, shown=reference.shown)
        with cache.staging() as staged:
            for path, info in infos.items():
                (staged / path).parent.mkdir(parents=True, exist_ok=True)
                system.get_file(info["name"], str(staged / path))
            if not all(_SIGNS & info.keys() for info in infos.values()):
                folder = cache.place(reference.scheme, [cache.digest(staged)], name)
            return Fetched(folder=cache.settle(staged, folder), shown=reference.shown)


def _infos(system: Any, root: str, shown: str) -> Infos:
    """What the file system says of an adapter's files, looked for by name where it has no lists."""
    try:
        listed = {_within(root, path): info for path, info in system.find(root, maxdepth=2, detail=True).items()}
    except (FileNotFoundError, NotImplementedError):
        listed = {}
    if not listed:
        listed = {name: system.info(f"{root}/{name}") for name in contents.PROBED if system.isfile(f"{root}/{name}")}
    return {path: listed[path] for path in contents.chosen(listed, shown)}


def _within(root: str, path: str) -> str:
    return path.removeprefix(root).strip("/")


def _identity(reference: Reference, infos: Infos) -> list[str]:
    told = [f"{path} {key}={value}" for path, info in infos.items() for key, value in sorted(info.items())]
    return [reference.text.partition("?")[0], *told]
