"""Parquet, read in a process of its own: Arrow ends its process on some broken files, and a page
may unpack to 2 GiB.

    stdin: {"url", "key", "columns", "labels", "memory_bytes_max"}
    stdout: an Arrow stream of these columns; stderr: why it failed
    exit code: STORE_FAILED for the object store, any other but 0 for the file
"""

import json
import resource
import sys
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from data_ingest.chassis.objects import Bucket, Directory, ObjectStoreUnavailable, open_store

PIECE_ROWS: Final = 50_000
ROWS_KEY: Final = b"rows"
STORE_FAILED: Final = 2


def main() -> int:
    """What the process does; its exit code."""
    request = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_DATA, (request["memory_bytes_max"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open_store(request["url"], Directory, Bucket).reading(request["key"]) as source:
            _copy(source, request["columns"], request["labels"])
    except ObjectStoreUnavailable as error:
        sys.stderr.write(str(error))
        return STORE_FAILED
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        sys.stderr.write(str(error))
        return 1
    return 0


def _copy(source: pa.NativeFile, columns: Sequence[str], labels: Sequence[str]) -> None:
    """The columns are on stdout, labels as dictionaries: a long text that repeats is there once."""
    file = pq.ParquetFile(source, read_dictionary=labels)
    names = file.schema_arrow.names
    if b"cloudopshub.format" in (file.metadata.metadata or {}):
        raise ValueError("a block of the store has ids and no labels; import an export of das")
    if missing := [name for name in columns if name not in names]:
        raise ValueError(f"no column {missing[0]!r}; there are {names[:50]}")
    batches = file.iter_batches(PIECE_ROWS, columns=columns, use_threads=False)
    writer = None
    for batch in batches:
        if writer is None:
            schema = batch.schema.with_metadata({ROWS_KEY: str(file.metadata.num_rows)})
            writer = pa.ipc.new_stream(sys.stdout.buffer, schema)
        writer.write_batch(batch)
    if writer is None:
        raise ValueError("it has no rows")
    writer.close()


if __name__ == "__main__":
    sys.exit(main())
