"""The object store: a directory (`file://`) or S3 (`s3://`).

    writing(key) ── bytes ── durable, then visible under its key ── or nothing at all

A directory gets a temporary file, fsync, rename, fsync of the folders; S3 acknowledges its PUT.
After an exception in the block of `writing` there is no object. Keys are relative, with `/`. Calls
block: run them in a thread; every one may raise ObjectStoreUnavailable.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from pyarrow import fs

from data_ingest.chassis.objects import Bucket, Directory, ObjectStoreUnavailable, translating

TEMPORARY_PREFIX = ".tmp-"


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """One object as the store lists it."""

    key: str
    bytes: int
    modified_ms: int


class DirectoryObjects(Directory):
    """Objects as files under one directory."""

    @contextlib.contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """Written beside its place, fsynced, renamed; then the folders that changed are fsynced."""
        path = self._path(key)
        temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
        with translating():
            _make_folders(path.parent)
            file = temporary.open("xb")
        try:
            with file:
                yield cast("BinaryIO", file)
                with translating():
                    file.flush()
                    os.fsync(file.fileno())
            with translating():
                temporary.replace(path)
                _sync_folder(path.parent)
        except OSError as exc:  # the disk filled up while the caller wrote
            raise ObjectStoreUnavailable(detail=str(exc)) from exc
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def delete(self, key: str) -> None:
        """The file is not there, whether or not it was; its folder stays."""
        with translating():
            self._path(key).unlink(missing_ok=True)

    def list(self) -> Iterator[ObjectFacts]:
        """Every file under the root, also temporary ones that a killed writer left, in no order."""
        with translating():
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
        with translating():
            _make_folders(self._root)
            probe = self._root / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
            probe.touch(exist_ok=False)
            probe.unlink()
        return f"{self._root} is writable"


class ArrowObjects(Bucket):
    """Objects in S3 or whatever else Arrow has a file system for."""

    @contextlib.contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """A multipart upload, acknowledged when it closes.

        When the block fails the object is deleted; the sweep removes what a killed process left.
        """
        path = self._path(key)
        with translating():
            stream = self._filesystem.open_output_stream(path)
        try:
            yield cast("BinaryIO", stream)
        except BaseException:
            with contextlib.suppress(Exception):
                stream.close()
                self._filesystem.delete_file(path)
            raise
        with translating():
            stream.close()

    def delete(self, key: str) -> None:
        """Deleted, or was not there."""
        with translating(), contextlib.suppress(FileNotFoundError):
            self._filesystem.delete_file(self._path(key))

    def list(self) -> Iterator[ObjectFacts]:
        """Every object under the prefix, in no order."""
        with translating():
            selector = fs.FileSelector(self._root, recursive=True, allow_not_found=True)
            for info in self._filesystem.get_file_info(selector):
                if info.type == fs.FileType.File:
                    key = info.path[len(self._root) :].lstrip("/")
                    yield ObjectFacts(
                        key, info.size, int((info.mtime_ns or time.time_ns()) // 1_000_000)
                    )


ObjectStore: TypeAlias = DirectoryObjects | ArrowObjects


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
