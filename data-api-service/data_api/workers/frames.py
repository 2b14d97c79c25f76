"""What the service and a worker say to one another: a kind, a length and so many bytes.

    service ─▶ worker   JOB what to compute · CANCEL stop · GRANT the answer to RESERVE
    worker ─▶ service   HELLO its pid · RESERVE memory, in samples · PIECE of an answer in pieces
                        VALUE any other answer · FAILURE an error · DONE what it cost and counted

Both ends are this program: objects are pickled. A store is named, not sent: each process has its
own. What cannot be pickled (a local function, say) is computed where it is.
"""

import asyncio
import io
import pickle
import struct
from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from data_api.chassis.kinds import ServiceError
from data_api.store.reader import Store

HEAD: Final = struct.Struct("<BI")
PIECE_BYTES: Final = 256 * 1024
READ_BYTES: Final = 1024 * 1024
"""What a socket's reader keeps before it stops reading, where there is no other bound."""


class Frame(IntEnum):
    """The kinds of frames."""

    JOB = 1
    CANCEL = 2
    GRANT = 3
    HELLO = 4
    RESERVE = 5
    PIECE = 6
    VALUE = 7
    FAILURE = 8
    DONE = 9


class WorkerDefect(Exception):
    """What a worker did not expect; the detail is its traceback."""

    def __init__(self, *, detail: str) -> None:
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Job:
    """A packed `work(limits)` and its bounds; memory is asked for."""

    work: bytes
    samples_max: int
    kept_since_ms: int
    answer_bytes_max: int
    left_s: float


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> str | None:
        """The store's name; None for all else, which is copied."""
        return "store" if isinstance(obj, Store) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, packed: bytes, store: Store) -> None:
        super().__init__(io.BytesIO(packed))
        self._store = store

    def persistent_load(self, pid: Any) -> Store:
        """This process's store."""
        assert pid == "store", pid
        return self._store


def packed(work: Any) -> bytes | None:
    """`work` as bytes; None when it cannot leave this process."""
    out = io.BytesIO()
    try:
        _Pickler(out, pickle.HIGHEST_PROTOCOL).dump(work)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    return out.getvalue()


def unpacked(work: bytes, store: Store) -> Any:
    """What `packed` packed, with this process's store."""
    return _Unpickler(work, store).load()


def write(writer: StreamWriter, kind: Frame, content: Any = None) -> None:
    """A frame is under way; bytes go as they are."""
    body = content if isinstance(content, bytes) else pickle.dumps(content)
    writer.write(HEAD.pack(kind, len(body)))
    writer.write(body)


async def read(reader: StreamReader) -> tuple[Frame, bytes] | None:
    """The next frame; None when the other side has ended."""
    try:
        kind, size = HEAD.unpack(await reader.readexactly(HEAD.size))
        return Frame(kind), await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def content(body: bytes) -> Any:
    """What a frame that `write` pickled says."""
    return pickle.loads(body)  # noqa: S301 - the other end of a socket pair is this program


def failure(error: ServiceError) -> tuple[type[ServiceError], dict[str, Any]]:
    """An error as it travels: errors are made of keywords, which pickle does not know."""
    return type(error), error.facts
