"""The stored formats, byte for byte: what this service writes is what das's tests read.

The files stand in `tests/golden/store` here and, with the same bytes, in data-api-service (twins,
`make check-twins`). After a change of format or of a compressor they are written anew by
`python -m tests.unit.test_golden`, in both places. `block-1.parquet` holds the same samples as the
first version of the format had them; nothing writes that any more.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow.parquet as pq

from data_ingest import batch, histograms
from data_ingest.batch import Columns
from data_ingest.chassis.checked import BYTES_KEY, SUMS_KEY
from data_ingest.histograms import HISTOGRAM_BITS
from data_ingest.store import block
from data_ingest.store.block import BlockWriter
from data_ingest.store.sorting import sort_and_deduplicate
from tests import wire
from tests.native_histograms import CUSTOM, FLOATS, histogram, stored_form
from tests.stored_values import STALE as STALE_MARKER

HERE: Final = Path(__file__).resolve().parents[1] / "golden" / "store"
TENANT: Final = UUID(int=0xC0B)
AT_MS: Final = 1_795_000_000_000
STALE: Final = 0x7FF0_0000_0000_0002
BITS: Final = (STALE, 0x7FF8_0000_0000_0001, 1 << 63, 0x7FF << 52, 0xFFF << 52, 1, 0)
"""Stale marker, NaN, -0.0, both infinities, the smallest number, zero."""


def samples() -> Columns:
    """In order of arrival: a gauge, a counter, full floats, odd bits, late samples, a sample
    written twice, ids far apart.
    """
    rows: list[tuple[int, int, float]] = []
    for i in range(24):
        rows += (
            (7, AT_MS + 15_000 * i, 20 + i % 5 / 4),
            (3, AT_MS + 15_000 * i, 1e6 * i),
            (2**40, AT_MS + 15_000 * i, (i + 1) / 3),
        )
    rows += [
        (8, AT_MS + 1000 * i, value)
        for i, value in enumerate(np.array(BITS, np.uint64).view(np.float64).tolist())
    ]
    rows += [(7, AT_MS - 60_000, 1.5), (7, AT_MS, -3.25), (3, AT_MS, 0.5), (9, 0, -1e-9)]
    ids, times, values = zip(*rows, strict=True)
    return Columns(np.array(ids), np.array(times), np.array(values, np.float64))


def with_histograms() -> Columns:
    """In order of arrival: histograms of each kind, one written twice, a float and a stale marker
    between them, and one that came as a histogram.
    """
    sent = [histogram(), wire.Histogram(**FLOATS), wire.Histogram(**CUSTOM), histogram(sum=4.5)]
    messages = [stored_form(one) for one in sent]
    at = np.array([0, 2, 3, 5, 6])
    values, stored = histograms.marked(
        np.array([0, 1.5, 0, 0, STALE_MARKER, 0, 0]),
        at,
        [*messages[:3], messages[3], b""],
    )
    times = AT_MS + np.array([0, 15_000, 30_000, 0, 15_000, 0, 45_000])
    return Columns(np.array([5, 5, 5, 6, 6, 5, 5]), times, values, stored)


def written_histograms() -> bytes:
    """One row group: two series with histograms."""
    columns, sink = with_histograms(), io.BytesIO()
    writer = BlockWriter(sink, TENANT)
    writer.write(
        sort_and_deduplicate(
            columns.series_ids, columns.timestamps_ms, columns.values, columns.histograms
        )
    )
    writer.close()
    return sink.getvalue()


def listed(columns: Any, series_ids: Any) -> list[list[Any]]:
    """(series_id, timestamp_ms, bits in hexadecimal, histogram in hexadecimal or null)."""
    values, messages = histograms.in_order(columns.values, columns.histograms)
    left = iter(messages.to_pylist())
    return [
        [series_id, at, f"{bits:016x}", next(left).hex() if bits == HISTOGRAM_BITS else None]
        for series_id, at, bits in zip(
            series_ids.tolist(),
            columns.timestamps_ms.tolist(),
            values.view(np.uint64).tolist(),
            strict=True,
        )
    ]


def expected_histograms() -> bytes:
    """As `expected`, of the files with histograms."""
    columns = with_histograms()
    [piece] = block.read(io.BytesIO(written_histograms()))
    ids = np.repeat(piece.series_ids, np.diff(piece.starts))
    lines = {"batch": listed(columns, columns.series_ids), "block": listed(piece, ids)}
    return (json.dumps(lines, separators=(",", ":")) + "\n").encode()


def written_block() -> tuple[bytes, bytes]:
    """Two row groups; series 7 goes on in the second. And the digest of its tail."""
    columns = samples()
    sink = io.BytesIO()
    writer = BlockWriter(sink, TENANT)
    is_first = (columns.series_ids < 7) | (
        (columns.series_ids == 7) & (columns.timestamps_ms < AT_MS + 90_000)
    )
    for chosen in (is_first, ~is_first):
        writer.write(
            sort_and_deduplicate(
                columns.series_ids[chosen], columns.timestamps_ms[chosen], columns.values[chosen]
            )
        )
    facts = writer.close()
    return sink.getvalue(), facts.tail_sha256


def expected() -> bytes:
    """(series_id, timestamp_ms, bits of the value in hexadecimal): of the batch in its order, of
    the block by series and time. The digest is that of the file's own tail.
    """
    columns = samples()
    bits = columns.values.view(np.uint64).tolist()
    rows = list(zip(columns.series_ids.tolist(), columns.timestamps_ms.tolist(), bits, strict=True))
    latest = {row[:2]: row for row in rows}
    golden = (HERE / "block.parquet").read_bytes()
    tail = golden[-8 - int.from_bytes(golden[-8:-4], "little") :]
    lines: dict[str, object] = {"tail_sha256": hashlib.sha256(tail).hexdigest()}
    lines |= {
        name: [[series_id, at, f"{value:016x}"] for series_id, at, value in listed]
        for name, listed in (
            ("batch", rows),
            ("block", sorted(latest.values(), key=lambda row: row[:2])),
        )
    }
    return (json.dumps(lines, separators=(",", ":")) + "\n").encode()


FILES: Final = {
    "batch.cob1": lambda: batch.pack(samples()),
    "block.parquet": lambda: written_block()[0],
    "expected.json": expected,
    "histograms.cob2": lambda: batch.pack(with_histograms()),
    "histograms.parquet": written_histograms,
    "histograms.json": expected_histograms,
}


def test_the_batch_is_written_as_it_was() -> None:
    """The payload is the same byte for byte, and reads as what went in."""
    golden = (HERE / "batch.cob1").read_bytes()
    assert batch.pack(samples()) == golden
    columns = batch.unpack(golden)
    assert columns.values.view(np.uint64).tolist() == samples().values.view(np.uint64).tolist()
    assert columns.series_ids.tolist() == samples().series_ids.tolist()
    assert columns.timestamps_ms.tolist() == samples().timestamps_ms.tolist()


def test_the_block_is_written_as_it_was() -> None:
    """The object has the same schema, encodings and rows; byte for byte the same where the Parquet
    library is of the version that wrote the file.
    """
    golden, (made, digest) = (HERE / "block.parquet").read_bytes(), written_block()
    old, new = pq.ParquetFile(io.BytesIO(golden)), pq.ParquetFile(io.BytesIO(made))
    if old.metadata.created_by == new.metadata.created_by:
        assert made == golden
        assert digest.hex() == json.loads(expected())["tail_sha256"]
    assert new.schema.equals(old.schema)
    assert _named(new) == _named(old)
    assert new.metadata.num_row_groups == old.metadata.num_row_groups == 2
    assert _encodings(new) == _encodings(old)
    # As text: in Python, as in Arrow, NaN equals nothing.
    assert str(new.read().to_pylist()) == str(old.read().to_pylist())


def test_both_hold_what_is_expected() -> None:
    """`expected.json` says what a reader must find, and blocks of both versions read as it says."""
    assert (HERE / "expected.json").read_bytes() == expected()
    digest = bytes.fromhex(json.loads(expected())["tail_sha256"])
    assert _rows("block.parquet", digest) == json.loads(expected())["block"]
    assert _rows("block-1.parquet", None) == json.loads(expected())["block"]
    assert all((HERE / name).stat().st_size < 20_000 for name in FILES)


def _rows(name: str, digest: bytes | None) -> list[list[object]]:
    rows: list[list[object]] = []
    with (HERE / name).open("rb") as source:
        for piece in block.read(source, digest):
            ids = np.repeat(piece.series_ids, np.diff(piece.starts)).tolist()
            bits = [f"{value:016x}" for value in piece.values.view(np.uint64).tolist()]
            times = piece.timestamps_ms.tolist()
            rows += [list(row) for row in zip(ids, times, bits, strict=True)]
    return rows


def test_histograms_are_written_as_they_were() -> None:
    """The batch is the same byte for byte; batch and block hold what `histograms.json` says."""
    for name in ("histograms.cob2", "histograms.json"):
        assert (HERE / name).read_bytes() == FILES[name]()
    text = json.loads((HERE / "histograms.json").read_bytes())
    columns = batch.unpack((HERE / "histograms.cob2").read_bytes())
    assert listed(columns, columns.series_ids) == text["batch"]
    with (HERE / "histograms.parquet").open("rb") as source:
        [piece] = block.read(source)
    assert listed(piece, np.repeat(piece.series_ids, np.diff(piece.starts))) == text["block"]
    assert [row[3] is not None for row in text["block"]] == [True, False, True, False, True, False]


def _named(file: pq.ParquetFile) -> dict[bytes, bytes]:
    """The file's own metadata; the sums differ wherever the bytes do."""
    sums = {BYTES_KEY.encode(), SUMS_KEY.encode()}
    named: dict[bytes, bytes] = file.metadata.metadata
    assert sums <= named.keys()
    return {key: value for key, value in named.items() if key not in sums}


def _encodings(file: pq.ParquetFile) -> list[tuple[str, ...]]:
    group = file.metadata.row_group(0)
    return [group.column(i).encodings for i in range(group.num_columns)]


if __name__ == "__main__":
    reader = HERE.parents[3] / "data-api-service" / "tests" / "golden" / "store"
    for folder in (HERE, reader):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in FILES.items():
            (folder / name).write_bytes(content())
