"""The object store: a directory (`file://`) or S3 (`s3://`).

    writing(key) ── bytes ── durable, then visible under its key ── or nothing at all

A directory gets a temporary file, fsync, rename, fsync of the folders; S3 acknowledges its PUT.
Calls block: run them in a thread.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from data_ingest.errors import StoreUnavailable

TEMPORARY_PREFIX = ".tmp-"


class ObjectStoreUnavailable(StoreUnavailable):
    """The object store does not take or give an object."""


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """One object as the store lists it."""

    key: str
    bytes: int
    modified_ms: int


class ObjectStore(Protocol):
    """Keys are relative, with `/`. Every call may raise ObjectStoreUnavailable."""

    def writing(self, key: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """A sink; after the block the object is durable and readable under `key`.

        After an exception in the block there is no object.
        """

    def reading(self, key: str) -> contextlib.AbstractContextManager[BinaryIO | pa.NativeFile]:
        """A seekable source."""

    def delete(self, key: str) -> None:
        """The object is not there, whether or not it was."""

    def list(self) -> Iterator[ObjectFacts]:
        """All objects, and temporary files that a killed writer left behind, in no order."""

    def check(self) -> str:
        """A readiness detail, or ObjectStoreUnavailable."""


class DirectoryObjects:
    """Objects as files under one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """Written beside its place, fsynced, renamed; then the folders that changed are fsynced."""
        path = self._path(key)
        temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
        with _ours():
            _make_folders(path.parent)
            file = temporary.open("xb")
        try:
            with file:
                yield cast("BinaryIO", file)
                with _ours():
                    file.flush()
                    os.fsync(file.fileno())
            with _ours():
                temporary.replace(path)
                _sync_folder(path.parent)
        except OSError as exc:  # the disk filled up while the caller wrote
            raise ObjectStoreUnavailable(detail=str(exc)) from exc
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def reading(self, key: str) -> Iterator[BinaryIO]:
        """The open file."""
        with _ours():
            file = self._path(key).open("rb")
        with file:
            yield cast("BinaryIO", file)

    def delete(self, key: str) -> None:
        """The file is not there, whether or not it was; its folder stays."""
        with _ours():
            self._path(key).unlink(missing_ok=True)

    def list(self) -> Iterator[ObjectFacts]:
        """Every file under the root."""
        with _ours():
            for folder, _, names in os.walk(self._root, onerror=_raise):
                for name in names:
                    path = Path(folder, name)
                    try:
                        facts = path.stat()
                    except FileNotFoundError:
                        continue  # renamed or deleted since it was listed
                    yield ObjectFacts(
                        path.relative_to(self._root).as_posix(),
                        facts.st_size,
                        facts.st_mtime_ns // 1_000_000,
                    )

    def check(self) -> str:
        """A file can be made here."""
        with _ours():
            _make_folders(self._root)
            probe = self._root / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
            probe.touch(exist_ok=False)
            probe.unlink()
        return f"{self._root} is writable"

    def _path(self, key: str) -> Path:
        assert all(part not in {"", ".", ".."} for part in key.split("/")), key
        return self._root / key


class ArrowObjects:
    """Objects in S3 or whatever else Arrow has a file system for."""

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.strip("/")

    @contextlib.contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """A multipart upload, acknowledged when it closes.

        When the block fails the object is deleted; the sweep removes what a killed process left.
        """
        path = self._path(key)
        with _ours():
            stream = self._filesystem.open_output_stream(path)
        try:
            yield cast("BinaryIO", stream)
        except BaseException:
            with contextlib.suppress(Exception):
                stream.close()
                self._filesystem.delete_file(path)
            raise
        with _ours():
            stream.close()

    @contextlib.contextmanager
    def reading(self, key: str) -> Iterator[pa.NativeFile]:
        """A random-access file: only the ranges that are read travel."""
        with _ours():
            file = self._filesystem.open_input_file(self._path(key))
        with file:
            yield file

    def delete(self, key: str) -> None:
        """Deleted, or was not there."""
        with _ours(), contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_file(self._path(key))

    def list(self) -> Iterator[ObjectFacts]:
        """Every object under the prefix."""
        with _ours():
            selector = fs.FileSelector(self._root, recursive=True, allow_not_found=True)
            for info in self._filesystem.get_file_info(selector):
                if info.type == fs.FileType.File:
                    key = info.path[len(self._root) :].lstrip("/")
                    yield ObjectFacts(
                        key, info.size, int((info.mtime_ns or time.time_ns()) // 1_000_000)
                    )

    def check(self) -> str:
        """The prefix can be listed."""
        with _ours():
            self._filesystem.get_file_info(self._root)
        return f"{self._filesystem.type_name} answers"

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"


def open_store(url: str) -> DirectoryObjects | ArrowObjects:
    """The store of `OBJECT_STORE_URL`; ValueError for another scheme than file and s3.

    S3 takes credentials and region where every AWS tool does; another endpoint by
    `?endpoint_override=host:port&scheme=http` or `AWS_ENDPOINT_URL`.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return DirectoryObjects(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        filesystem, path = fs.FileSystem.from_uri(url)
        return ArrowObjects(filesystem, path)
    raise ValueError(f"OBJECT_STORE_URL: neither file:// nor s3://: {parts.scheme}://…")


@contextlib.contextmanager
def _ours() -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as exc:
        raise ObjectStoreUnavailable(detail=str(exc)) from exc


def _raise(error: OSError) -> Any:
    raise error


def _make_folders(folder: Path) -> None:
    """`folder` exists and its entry is durable, as are those of the folders made on the way."""
    if folder.is_dir():
        return
    if folder != folder.parent:
        _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
