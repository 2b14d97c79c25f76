"""Laws of sorting, merging and blocks: pure arrays in memory."""

import io
import uuid
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ingest.chassis.checked import SEGMENT_BYTES
from data_ingest.errors import BadPayload
from data_ingest.kernels import chunks
from data_ingest.store import block
from data_ingest.store.block import BlockFacts, BlockWriter, SortedSamples
from data_ingest.store.block_times import BlockTimes
from data_ingest.store.sorting import merge, sort_and_deduplicate
from tests.stored_values import REQUESTS, stored

Rows: TypeAlias = list[tuple[int, int, float]]
TENANT = uuid.UUID(int=7)
BITS = st.integers(0, 2**64 - 1) | st.sampled_from(
    [0x7FF0_0000_0000_0002, 0x7FF8_0000_0000_0001, 1 << 63, 0x7FF << 52, 0xFFF << 52, 1]
)
VALUES = (
    BITS.map(lambda bits: float(np.array([bits], np.uint64).view(np.float64)[0]))
    | st.integers(-(2**54), 2**54).map(float)
    | st.decimals(-10000, 10000, places=3).map(float)
)
TIMES = st.integers(0, 12) | st.integers(0, 12).map(lambda i: i * 10_000) | st.integers(0, 2**45)
SAMPLES = st.lists(st.tuples(st.integers(1, 6) | st.integers(1, 2**40), TIMES, VALUES), max_size=60)
INTEGERS = pa.list_(pa.int64())
VERSION_1 = pa.schema(
    [
        ("series_id", pa.int64()),
        ("min_ts", pa.int64()),
        ("max_ts", pa.int64()),
        ("timestamps", INTEGERS),
        ("scale", pa.int8()),
        ("deltas", INTEGERS),
        ("values", pa.list_(pa.float64())),
    ],
    {"cloudopshub.format": "block/1"},
)


def _arrays(rows: Rows) -> tuple[Any, Any, Any]:
    ids, times, values = zip(*rows, strict=True) if rows else ((), (), ())
    return np.array(ids, np.int64), np.array(times, np.int64), np.array(values, np.float64)


def _as_dict(pieces: Iterable[SortedSamples]) -> dict[tuple[int, int], int]:
    seen: dict[tuple[int, int], int] = {}
    last = (-1, -1)
    for piece in pieces:
        ids = np.repeat(piece.series_ids, np.diff(piece.starts)).tolist()
        bits = np.ascontiguousarray(piece.values).view(np.uint64).tolist()
        for key, value in zip(
            zip(ids, piece.timestamps_ms.tolist(), strict=True), bits, strict=True
        ):
            assert key > last, "by series, then strictly ascending time"
            last = key
            seen[key] = value
    return seen


def _written(*pieces: SortedSamples) -> tuple[io.BytesIO, BlockFacts]:
    sink = io.BytesIO()
    writer = BlockWriter(sink, TENANT)
    for piece in pieces:
        writer.write(piece)
    facts = writer.close()
    sink.seek(0)
    return sink, facts


@given(SAMPLES)
def test_sorted_samples_are_what_is_stored(rows: Rows) -> None:
    """By series, then time; of one (series, timestamp) the last value stays, bit for bit."""
    assert _as_dict([sort_and_deduplicate(*_arrays(rows))]) == stored(rows)


@given(SAMPLES.filter(bool))
def test_a_block_reads_back_what_was_written(rows: Rows) -> None:
    """Every bit of every value comes back, NaN payloads, stale markers and -0.0 among them, and
    the facts are true.
    """
    expected = stored(rows)
    sink, facts = _written(sort_and_deduplicate(*_arrays(rows)))
    assert _as_dict(block.read(sink)) == expected
    times = [at for _, at in expected]
    assert (facts.series, facts.samples) == (len({s for s, _ in expected}), len(expected))
    assert (facts.min_ts, facts.max_ts) == (min(times), max(times))
    assert facts.bytes == len(sink.getvalue())
    assert _as_dict(block.read(sink, facts.tail_sha256)) == expected


def test_no_byte_changes_unnoticed() -> None:
    """A flipped bit in any byte of a block is an error: in data, page headers, footer, its length
    and the magic at both ends. So is a byte less or more, and another block in its place.
    """
    ids, times, values = _arrays(
        [(s, t, v) for s in range(4) for t, v in enumerate((0.5, s / 3, -0.0, 1e300))]
    )
    sink, facts = _written(sort_and_deduplicate(ids, times, values))
    whole = sink.getvalue()
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        with pytest.raises(BadPayload):
            list(block.read(io.BytesIO(flipped), facts.tail_sha256))
    other = _written(sort_and_deduplicate(ids, times, values + 1))[0].getvalue()
    for changed in (whole[:-1], whole[1:], whole + b"1", whole[:9] + whole[8:], b"", other):
        with pytest.raises(BadPayload):
            list(block.read(io.BytesIO(changed), facts.tail_sha256))
    assert list(block.read(io.BytesIO(whole), facts.tail_sha256))


@pytest.fixture(scope="module")
def large_block() -> tuple[bytes, bytes, dict[int, int]]:
    """Several segments in several row groups, the digest of its tail, and bits by time."""
    n = 300_000
    values = np.random.default_rng(3).normal(size=n)
    sink, facts = _written(
        sort_and_deduplicate(np.repeat(np.arange(1, 101), n // 100), np.arange(n), values)
    )
    assert facts.bytes > 8 * SEGMENT_BYTES
    bits = dict(enumerate(values.view(np.uint64).tolist()))
    return sink.getvalue(), facts.tail_sha256, bits


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_no_bit_of_a_large_block_changes_unnoticed(
    large_block: tuple[bytes, bytes, dict[int, int]], where: float, bit: int
) -> None:
    """Wherever the bit lies in its segments, the block is an error before its samples are all read;
    what was given before it are samples that were written.
    """
    whole, digest, expected = large_block
    flipped = bytearray(whole)
    flipped[int(where * len(whole))] ^= 1 << bit
    pieces: list[SortedSamples] = []
    with pytest.raises(BadPayload):
        pieces.extend(block.read(io.BytesIO(flipped), digest))
    for (_, at), bits in _as_dict(pieces).items():
        assert bits == expected[at]


def test_a_block_written_before_there_were_sums_is_read() -> None:
    """Without a digest in the catalogue, a block without sums is read as it stands."""
    before = io.BytesIO()
    with pq.ParquetWriter(before, block.SCHEMA, store_schema=False) as writer:
        writer.add_key_value_metadata({"cloudopshub.format": "block/2"})
        for piece in block.read(_written(sort_and_deduplicate(*_arrays([(1, 2, 0.5)])))[0]):
            writer.write_table(next(block._tables(piece)))
    assert _as_dict(block.read(before)) == stored([(1, 2, 0.5)])
    with pytest.raises(BadPayload):
        list(block.read(before, bytes(32)))


@given(SAMPLES.filter(bool), SAMPLES.filter(bool))
def test_a_block_of_version_1_is_read_and_merged(old: Rows, new: Rows) -> None:
    """A block written before version 2 holds what it held, alone and merged with a later one."""
    sink = io.BytesIO()
    whole = sort_and_deduplicate(*_arrays(old))
    pq.write_table(_version_1(whole), sink)
    assert _as_dict(block.read(sink)) == stored(old)
    times = BlockTimes(sink, None)
    starts, timestamps_ms = times.times(0).starts, times.times(0).timestamps_ms
    assert (times.samples(0), timestamps_ms.tolist()) == (len(whole), whole.timestamps_ms.tolist())
    assert starts[-1] == len(whole)
    inputs = [block.read(sink), iter([sort_and_deduplicate(*_arrays(new))])]
    assert _as_dict(merge(inputs)) == stored([*old, *new])


def _version_1(samples: SortedSamples) -> pa.Table:
    """One chunk a series, as version 1 of docs/formats/block.md had it."""
    rows = []
    for i, series_id in enumerate(samples.series_ids.tolist()):
        part = slice(*samples.starts[i : i + 2].tolist())
        times, values = samples.timestamps_ms[part], samples.values[part]
        scaled = [(s, ints) for s in range(10) if (ints := _scaled(values, s)) is not None]
        scale, integers = scaled[0] if scaled else (None, None)
        deltas = None if integers is None else np.diff(integers, prepend=0).tolist()
        raw = values.tolist() if scale is None else None
        rows.append((series_id, *times[[0, -1]].tolist(), times.tolist(), scale, deltas, raw))
    names = ("series_id", "min_ts", "max_ts", "timestamps", "scale", "deltas", "values")
    columns = (dict(zip(names, row, strict=True)) for row in rows)
    return pa.Table.from_pylist(list(columns), VERSION_1)


@given(st.lists(SAMPLES.filter(bool), min_size=1, max_size=4), st.integers(0, 60))
def test_merging_blocks_is_settling_their_samples(inputs: list[Rows], least: int) -> None:
    """Blocks merged in order of precedence hold what one block of all their samples would."""
    blocks = [_written(sort_and_deduplicate(*_arrays(rows)))[0] for rows in inputs]
    merged = list(merge([block.read(sink) for sink in blocks], least))
    assert _as_dict(merged) == stored([row for rows in inputs for row in rows])
    assert _as_dict(block.read(_written(*merged)[0])) == _as_dict(merged)


@given(REQUESTS, st.data())
def test_a_value_beats_a_stale_marker_however_they_are_compacted(
    requests: list[Rows], data: st.DataObject
) -> None:
    """Before or after the marker, in one request, one run or several, merged in any steps: the last
    value is stored, and the marker only where there is no value.
    """
    blocks = [[sort_and_deduplicate(*_arrays(rows))] for rows in requests]  # each in its pieces
    while len(blocks) > 1:
        first = data.draw(st.integers(0, len(blocks) - 2))
        end = data.draw(st.integers(first + 2, len(blocks)))
        blocks[first:end] = [list(merge([iter(pieces) for pieces in blocks[first:end]]))]
    merged = [piece for pieces in blocks for piece in pieces]
    assert _as_dict(merged) == stored(row for rows in requests for row in rows)


@given(SAMPLES.filter(bool), st.integers(1, 5), st.integers(0, 60))
def test_merging_small_pieces(rows: Rows, size: int, least: int) -> None:
    """Wherever an input is cut into pieces, also within a series, the merge is the same."""
    whole = sort_and_deduplicate(*_arrays(rows))
    ids = np.repeat(whole.series_ids, np.diff(whole.starts))
    pieces = [
        sort_and_deduplicate(
            ids[at : at + size], whole.timestamps_ms[at : at + size], whole.values[at : at + size]
        )
        for at in range(0, len(whole), size)
    ]
    assert _as_dict(merge([iter(pieces), iter([whole])], least)) == stored(rows)


def test_a_merged_block_has_full_row_groups() -> None:
    """However small those of its inputs are, and however often it is merged again."""
    ids = np.repeat(np.arange(1, 3001), 2)
    whole = sort_and_deduplicate(ids, np.arange(ids.size), np.zeros(ids.size))
    for size in (7, 400):
        nth = np.arange(ids.size) // size
        pieces = [whole.where(nth == at) for at in range(nth[-1] + 1)]
        sink = _written(*merge([iter(pieces), iter([whole])]))[0]
        groups = pq.ParquetFile(sink).metadata
        rows = [groups.row_group(at).num_rows for at in range(groups.num_row_groups)]
        assert rows == [512, 512, 512, 512, 512, 440]


@given(st.lists(VALUES, min_size=1, max_size=50))
def test_a_scaled_chunk_keeps_every_bit_or_is_raw(values: list[float]) -> None:
    """Where a scale is given, integer / 10**scale has the value's very bits, |integer| < 2**53 and
    no smaller scale would do.
    """
    array = np.array(values, np.float64)
    scales, bases = np.empty(1, np.int8), np.empty(1, np.int64)
    integers = np.zeros(array.size, np.int64)
    starts = np.array([0, array.size])
    chunks.scale(starts, array, array.view(np.uint64), scales, bases, integers)
    scale = int(scales[0])
    if scale == chunks.RAW:
        assert all(_scaled(array, s) is None for s in range(10))
        return
    assert _scaled(array, scale) is not None
    assert all(_scaled(array, s) is None for s in range(scale))
    integers += bases[0]
    assert (np.abs(integers) < 2**53).all()
    assert ((integers / 10**scale).view(np.uint64) == array.view(np.uint64)).all()


def test_a_base_and_its_integers_add_up_in_64_bits() -> None:
    """Without wrapping around, so that any reader may add them: also where all chunks of a row
    group rise as far as they can.
    """
    chunks_max, most = block.GROUP_CHUNKS_MAX, 2**53 - 1
    ids, times = np.repeat(np.arange(chunks_max), 2), np.tile([0, 1], chunks_max)
    values = np.tile([-float(most), float(most)], chunks_max)
    sink, _ = _written(sort_and_deduplicate(ids, times, values))
    rows = pq.read_table(sink, columns=["base", "integers"]).to_pylist()
    assert len(rows) == chunks_max
    assert all([row["base"] + i for i in row["integers"]] == [-most, most] for row in rows)


def _scaled(values: Any, scale: int) -> list[int] | None:
    """The integers of these values at this scale, or None, by Python's arithmetic."""
    integers = []
    for value in values.tolist():
        if not np.isfinite(value) or abs(value * 10.0**scale) >= 2**53:
            return None
        integer = round(value * 10.0**scale)
        back = np.float64(integer) / np.float64(10.0**scale)
        if back.view(np.uint64) != np.float64(value).view(np.uint64):
            return None
        integers.append(integer)
    return integers


def test_long_series_are_cut_into_chunks_and_groups() -> None:
    """A chunk holds at most 8,192 samples, a row group at most 512 chunks, and statistics let a
    reader skip groups.
    """
    n = 20_000
    ids = np.concatenate([np.full(n, 1), np.arange(2, 1502)]).astype(np.int64)
    times = np.concatenate([np.arange(n), np.zeros(1500)]).astype(np.int64)
    sink, facts = _written(sort_and_deduplicate(ids, times, np.ones(ids.size)))
    assert (facts.series, facts.samples) == (1501, n + 1500)
    assert (facts.min_ts, facts.max_ts) == (0, n - 1)
    file = pq.ParquetFile(sink)
    lengths = file.read(columns=["samples"])["samples"].to_pylist()
    assert lengths[:4] == [8192, 8192, n - 2 * 8192, 1]
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    assert all(group.num_rows <= 512 for group in groups)
    assert groups[-1].column(0).statistics.max == 1501
    assert groups[-1].column(0).compression == "ZSTD"
    columns = [groups[0].column(i) for i in range(len(block.SCHEMA))]
    encodings = {column.path_in_schema: column.encodings for column in columns}
    assert "DELTA_BINARY_PACKED" in encodings["jitter.list.element"]
    assert "DELTA_BINARY_PACKED" in encodings["integers.list.element"]
    assert "BYTE_STREAM_SPLIT" in encodings["values.list.element"]
    assert [column.is_stats_set for column in columns] == [True] * 3 + [False] * 8
    sink.seek(0)
    assert len(_as_dict(block.read(sink))) == n + 1500


def test_another_parquet_file_is_refused() -> None:
    """What is not a block is refused, be it Parquet or not."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    sink.seek(0)
    with pytest.raises(BadPayload, match="not block/1 or block/2"):
        list(block.read(sink))
    with pytest.raises(BadPayload):
        list(block.read(io.BytesIO(b"no parquet at all")))
