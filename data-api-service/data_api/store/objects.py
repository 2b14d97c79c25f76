"""Where block objects are read from: a directory, or S3. Objects never change once they exist."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from data_api.errors import CorruptData, StoreUnavailable


class Objects(Protocol):
    """Immutable objects by key."""

    def open(self, key: str) -> contextlib.AbstractContextManager[Any]:
        """A random-access file of the object, as pyarrow reads one. Raises StoreUnavailable."""

    def check(self) -> str:
        """One phrase on the store; raises when it does not answer."""


class Directory:
    """Objects as files below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[Any]:
        """Raises StoreUnavailable when the file is not there, CorruptData for a key outside."""
        path = (self._root / key).resolve()
        if not path.is_relative_to(self._root):
            raise CorruptData(detail="an object key outside the object store")
        try:
            file = pa.OSFile(str(path), "rb")
        except OSError as exc:
            raise StoreUnavailable(detail=f"object store: {exc}", object=key) from exc
        with file:
            yield file

    def check(self) -> str:
        """The folder can be listed. It appears with the first block, so a parent may stand in."""
        folder = next(one for one in (self._root, *self._root.parents) if one.exists())
        next(folder.iterdir(), None)
        return "the directory can be read"


class Bucket:
    """Objects below a prefix of an S3 bucket; only the ranges that are read travel."""

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[Any]:
        """Raises StoreUnavailable when the store does not answer or has no such object."""
        try:
            file = self._filesystem.open_input_file(f"{self._root}/{key}")
        except (OSError, pa.ArrowException) as exc:
            raise StoreUnavailable(detail=f"object store: {exc}", object=key) from exc
        with file:
            yield file

    def check(self) -> str:
        """The prefix can be asked for."""
        self._filesystem.get_file_info(self._root)
        return f"{self._filesystem.type_name} answers"


def open_store(url: str) -> Objects:
    """The store behind `file:///folder` or `s3://bucket/prefix`.

    S3 takes credentials and region where every AWS tool does, and another endpoint from
    `AWS_ENDPOINT_URL` or `?endpoint_override=host:port&scheme=http`, as data-ingest-service does.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Directory(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return Bucket(*fs.FileSystem.from_uri(url))
    raise ValueError(f"OBJECT_STORE_URL must begin with file:/// or s3://, not {parts.scheme!r}")
