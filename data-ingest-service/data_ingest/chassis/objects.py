"""The object store as every service reads it: a directory (`file://`) or S3 (`s3://`).

Objects never change once they exist. Keys are relative, with `/`. Calls block: run them in a
thread. Every call may raise ObjectStoreUnavailable.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from .kinds import Kind, ServiceError

D = TypeVar("D")
B = TypeVar("B")


class ObjectStoreUnavailable(ServiceError):
    """The object store does not take or give an object"""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class BadObjectKey(ServiceError):
    """An object key leads out of the object store"""

    kind: ClassVar[Kind] = Kind.INTERNAL


@contextmanager
def translating(**facts: Any) -> Iterator[None]:
    """Errors of the file system, the network and Arrow leave the block as ours, with `facts`."""
    try:
        yield
    except (OSError, pa.ArrowException) as exc:
        raise ObjectStoreUnavailable(detail=str(exc), **facts) from exc


def checked(key: str) -> str:
    """The key, which stays inside the store. Raises BadObjectKey."""
    if any(part in {"", ".", ".."} for part in key.split("/")):
        raise BadObjectKey(object=key)
    return key


class Directory:
    """Objects as files under one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def reading(self, key: str) -> Iterator[pa.NativeFile]:
        """A random-access file of the object."""
        with translating(object=key):
            file = pa.OSFile(str(self._path(key)), "rb")
        with file:
            yield file

    def check(self) -> str:
        """A readiness detail: the folder can be listed.

        It appears with the first object, so a parent may stand in for it.
        """
        with translating():
            folder = next(one for one in (self._root, *self._root.parents) if one.exists())
            next(folder.iterdir(), None)
        return "the directory can be read"

    def _path(self, key: str) -> Path:
        return self._root / checked(key)


class Bucket:
    """Objects in S3, or whatever else Arrow has a file system for, below a prefix."""

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.strip("/")

    @contextmanager
    def reading(self, key: str) -> Iterator[pa.NativeFile]:
        """A random-access file of the object: only the ranges that are read travel."""
        with translating(object=key):
            file = self._filesystem.open_input_file(self._path(key))
        with file:
            yield file

    def check(self) -> str:
        """A readiness detail: the prefix can be asked for."""
        with translating():
            self._filesystem.get_file_info(self._root)
        return f"{self._filesystem.type_name} answers"

    def _path(self, key: str) -> str:
        return f"{self._root}/{checked(key)}"


def open_store(
    url: str, directory: Callable[[Path], D], bucket: Callable[[fs.FileSystem, str], B]
) -> D | B:
    """The store of `OBJECT_STORE_URL`, made by `directory` or `bucket`.

    S3 takes credentials and region where every AWS tool does; another endpoint by
    `?endpoint_override=host:port&scheme=http` or `AWS_ENDPOINT_URL`. Raises ValueError for another
    scheme.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return directory(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return bucket(*fs.FileSystem.from_uri(url))
    raise ValueError(f"OBJECT_STORE_URL: neither file:// nor s3://: {parts.scheme}://…")
