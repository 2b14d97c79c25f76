"""Where block objects are read from: a directory, or S3. Objects never change once they exist."""

import io
from pathlib import Path
from typing import IO, Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from ..errors import CorruptData, StoreUnavailable

S3_CONNECT_TIMEOUT_S: Final = 3.0
S3_READ_TIMEOUT_S: Final = 20.0


class Objects(Protocol):
    """Immutable objects by key."""

    def open(self, key: str, size: int) -> IO[bytes]:
        """A seekable reader of the object, which is `size` bytes long."""

    def check(self) -> str:
        """One word on the store's whereabouts; raises when it does not answer."""


class Directory:
    """Objects as files below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def open(self, key: str, size: int) -> IO[bytes]:  # noqa: ARG002 - the file knows its size
        """Raises StoreUnavailable when the file is not there, CorruptData for a key outside."""
        path = (self._root / key).resolve()
        if not path.is_relative_to(self._root):
            raise CorruptData(detail="an object key outside the object store")
        try:
            return path.open("rb")
        except OSError as exc:
            raise StoreUnavailable(detail=f"object store: {exc.strerror}", object=key) from exc

    def check(self) -> str:
        """The folder can be listed. It appears with the first block, so its parent may stand in."""
        folder = self._root if self._root.exists() else self._root.parent
        next(folder.iterdir(), None)
        return "directory"


class Bucket:
    """Objects in an S3 bucket, read by ranges. Endpoint and credentials come the AWS way."""

    def __init__(self, bucket: str, prefix: str) -> None:
        import boto3  # noqa: PLC0415 - 40 MB that a directory store never needs
        from botocore.config import Config  # noqa: PLC0415

        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = boto3.client(
            "s3",
            config=Config(
                connect_timeout=S3_CONNECT_TIMEOUT_S,
                read_timeout=S3_READ_TIMEOUT_S,
                retries={"max_attempts": 3, "mode": "standard"},
                max_pool_connections=16,
            ),
        )

    def open(self, key: str, size: int) -> IO[bytes]:
        """A reader that fetches the ranges it is asked for."""
        return io.BufferedReader(_Ranges(self, self._prefix + key, size), buffer_size=1 << 16)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """The bytes [start, start + length) of the object; raises StoreUnavailable."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            answer: dict[str, Any] = self._client.get_object(
                Bucket=self._bucket, Key=key, Range=f"bytes={start}-{start + length - 1}"
            )
            body: bytes = answer["Body"].read()
        except (BotoCoreError, ClientError) as exc:
            raise StoreUnavailable(
                detail=f"object store: {type(exc).__name__}", object=key
            ) from exc
        return body

    def check(self) -> str:
        """The bucket answers a listing of one key."""
        self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        return f"bucket {self._bucket}"


class _Ranges(io.RawIOBase):
    """A seekable reader over ranges of one object."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        super().__init__()
        self._bucket = bucket
        self._key = key
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves without asking the store."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """One range request for what fits."""
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        found = self._bucket.read_range(self._key, self._at, length)
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def open_store(url: str) -> Objects:
    """The store behind `file:///folder` or `s3://bucket/prefix`."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Directory(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return Bucket(parts.netloc, parts.path.strip("/"))
    raise ValueError(f"OBJECT_STORE_URL must begin with file:/// or s3://, not {parts.scheme!r}")
