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
            wrong = str(error).rstrip(".")
            raise InputError(
                f"cannot fetch {reference.shown}: {wrong}; give a local directory or a known scheme"
            ) from None
        infos = _infos(system, root.rstrip("/"), reference)
        name = root.partition("?")[0].rstrip("/").rpartition("/")[2]
        if all(_SIGNS & info.keys() for info in infos.values()):
            folder = cache.place(reference.scheme, _identity(reference, infos), name)
            if cache.holds(folder, infos):
                return Fetched(folder=folder, shown=reference.shown)
        with cache.staging() as staged:
            for path, info in infos.items():
                (staged / path).parent.mkdir(parents=True, exist_ok=True)
                system.get_file(info["name"], str(staged / path))
            if not all(_SIGNS & info.keys() for info in infos.values()):
                folder = cache.place(reference.scheme, [cache.digest(staged)], name)
            return Fetched(folder=cache.settle(staged, folder), shown=reference.shown)


def _infos(system: Any, root: str, reference: Reference) -> Infos:
    """What the file system says of an adapter's files, looked for by name where it has no lists."""
    probed = contents.PROBED if reference.file is None else (reference.file,)
    listed = _listed(system, root) or {
        name: info for name in probed if (info := _info(system, _address(root, name))) is not None
    }
    return {path: listed[path] for path in contents.chosen(listed, reference)}


def _listed(system: Any, root: str) -> Infos:
    if "?" in root:  # a signed address: the signature goes with each file's name
        return {}
    try:
        return {_within(root, path): info for path, info in system.find(root, maxdepth=2, detail=True).items()}
    except (FileNotFoundError, NotImplementedError):
        return {}


def _address(root: str, name: str) -> str:
    folder, mark, query = root.partition("?")
    return f"{folder.rstrip('/')}/{name}{mark}{query}"


def _info(system: Any, path: str) -> Mapping[str, Any] | None:
    """What the file system says of one file; None where there is none.

    Raises:
        OSError: the server does not answer, which some file systems call a file that is not found.
    """
    try:
        info: Mapping[str, Any] = system.info(path)
    except FileNotFoundError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            raise error.__cause__ from None
        return None
    return info


def _within(root: str, path: str) -> str:
    return path.removeprefix(root).strip("/")


def _identity(reference: Reference, infos: Infos) -> list[str]:
    told = [f"{path} {key}={value}" for path, info in infos.items() for key, value in sorted(info.items())]
    return [reference.text.partition("?")[0], *told]
