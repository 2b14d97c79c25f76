"""Laws of the object store, the same for a directory and for what Arrow reaches (S3)."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import fs

from data_ingest.chassis.objects import BadObjectKey, ObjectStoreUnavailable, open_store
from data_ingest.store.objects import ArrowObjects, DirectoryObjects

Objects = DirectoryObjects | ArrowObjects


def _arrow(root: Path) -> ArrowObjects:
    root.mkdir(parents=True, exist_ok=True)
    # As flat as S3: folders are made on the way.
    return ArrowObjects(_Flat(fs.LocalFileSystem(), root), str(root))


class _Flat:
    """A local file system that, like S3, needs no folders."""

    def __init__(self, local: fs.LocalFileSystem, root: Path) -> None:
        self._local, self._root = local, root

    def open_output_stream(self, path: str) -> object:
        self._local.create_dir(f"/{path}".rsplit("/", 1)[0], recursive=True)
        return self._local.open_output_stream(f"/{path}")

    def open_input_file(self, path: str) -> object:
        return self._local.open_input_file(f"/{path}")

    def delete_file(self, path: str) -> None:
        self._local.delete_file(f"/{path}")

    def get_file_info(self, what: str | fs.FileSelector) -> object:
        if isinstance(what, str):
            return self._local.get_file_info(f"/{what}")
        selector = fs.FileSelector(f"/{what.base_dir}", recursive=True, allow_not_found=True)
        return [_Info(info) for info in self._local.get_file_info(selector)]

    type_name = "flat"


class _Info:
    def __init__(self, info: fs.FileInfo) -> None:
        self.type, self.size, self.mtime_ns = info.type, info.size, info.mtime_ns
        self.path = info.path.lstrip("/")


STORES = pytest.mark.parametrize("make", [DirectoryObjects, _arrow], ids=["directory", "arrow"])


@STORES
def test_an_object_is_there_whole_or_not_at_all(
    make: Callable[[Path], Objects], tmp_path: Path
) -> None:
    """What was written is read back and listed; a write that fails leaves nothing under its key."""
    objects = make(tmp_path / "deep" / "root")
    with objects.writing("a/b/c.parquet") as sink:
        sink.write(b"123")
    with objects.reading("a/b/c.parquet") as source:
        assert source.read() == b"123"
    with pytest.raises(ZeroDivisionError), objects.writing("a/b/d.parquet") as sink:
        sink.write(bytes(1 // 0))
    assert [(facts.key, facts.bytes) for facts in objects.list()] == [("a/b/c.parquet", 3)]
    assert objects.check()


@STORES
def test_deleting_is_idempotent(make: Callable[[Path], Objects], tmp_path: Path) -> None:
    """An object that is deleted is gone; deleting it again is no error; reading it is ours."""
    objects = make(tmp_path)
    with objects.writing("a.parquet") as sink:
        sink.write(b"1")
    objects.delete("a.parquet")
    objects.delete("a.parquet")
    assert list(objects.list()) == []
    with pytest.raises(ObjectStoreUnavailable), objects.reading("a.parquet"):
        pass


def test_a_directory_syncs_before_it_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is on disk before it has its name, and the name before the write is over."""
    steps: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append("sync folder" if is_folder else "sync file")
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return real_replace(self, target)

    objects = DirectoryObjects(tmp_path)
    with objects.writing("a/first.parquet") as sink:
        sink.write(b"1")
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    with objects.writing("b/second.parquet") as sink:
        sink.write(b"2")
    assert steps == ["sync folder", "sync file", "rename", "sync folder"]


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """A store that takes nothing says so in one error of ours."""
    (tmp_path / "file").write_text("in the way")
    objects = DirectoryObjects(tmp_path / "file" / "below")
    with pytest.raises(ObjectStoreUnavailable), objects.writing("a.parquet"):
        pass
    with pytest.raises(ObjectStoreUnavailable):
        objects.check()


def test_what_a_url_opens(tmp_path: Path) -> None:
    """`file://` is a directory, percent signs undone; another scheme is refused by name."""
    objects = open_store(f"file://{tmp_path}/with%20space", DirectoryObjects, ArrowObjects)
    assert isinstance(objects, DirectoryObjects)
    assert objects.check() == f"{tmp_path}/with space is writable"
    with pytest.raises(ValueError, match="ftp"):
        open_store("ftp://host/x", DirectoryObjects, ArrowObjects)


@pytest.mark.parametrize("key", ["../x", "/x", "a//b", "", "a/./b"])
def test_keys_stay_inside(key: str, tmp_path: Path) -> None:
    """A key never leads out of the store."""
    with pytest.raises(BadObjectKey):
        DirectoryObjects(tmp_path).delete(key)
