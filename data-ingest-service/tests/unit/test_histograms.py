"""Laws of histograms in batches and blocks: they go with their samples, the rest is as it was."""

import io
import threading
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest import batch, histograms
from data_ingest.background.compaction_plan import batches_to_take
from data_ingest.batch import Columns
from data_ingest.errors import BadPayload
from data_ingest.histograms import HISTOGRAM_BITS
from data_ingest.kernels.columns import shuffle
from data_ingest.model import NAN_BITS, Exemplar
from data_ingest.store import block, packing
from data_ingest.store.block import BlockWriter, SortedSamples
from data_ingest.store.packing import Write, pack_rows
from data_ingest.store.refs import BatchRef
from data_ingest.store.sorting import merge, sort_and_deduplicate
from tests.stored_values import STALE, STALE_BITS, bits_of

TENANT = uuid.UUID(int=7)
FORGED = float(np.array([HISTOGRAM_BITS | 5], np.uint64).view(np.float64)[0])
Value = float | bytes
Rows = list[tuple[int, int, Value]]
ROWS = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.integers(0, 4),
        st.sampled_from([1.0, float("nan"), STALE, FORGED, b""]) | st.binary(max_size=9),
    ),
    min_size=1,
    max_size=8,
)


def write_of(rows: Rows) -> Write:
    """The samples as a request brings them; bytes are histograms, empty ones end their series."""
    ids, times, given_values = zip(*rows, strict=True)
    at = [i for i, value in enumerate(given_values) if isinstance(value, bytes)]
    floats = [0.0 if isinstance(value, bytes) else value for value in given_values]
    values, messages = histograms.marked(
        np.array(floats), np.array(at, np.int64), [given_values[i] for i in at]
    )
    return Write(TENANT, np.array(ids), np.array(times), values, histograms=messages)


def expected(rows: Rows) -> list[tuple[int, int, int | bytes]]:
    """As a reader must find them, in this order."""
    rows_read: list[tuple[int, int, int | bytes]] = []
    for series_id, at, value in rows:
        if value == b"":
            rows_read.append((series_id, at, STALE_BITS))
        elif isinstance(value, bytes):
            rows_read.append((series_id, at, value))
        else:
            is_forged = bits_of(value) == bits_of(FORGED)
            rows_read.append((series_id, at, NAN_BITS if is_forged else bits_of(value)))
    return rows_read


def last_of(rows_read: list[tuple[int, int, int | bytes]]) -> dict[tuple[int, int], int | bytes]:
    """The last value of each series and time; a stale marker only where no value is."""
    last: dict[tuple[int, int], int | bytes] = {}
    for series_id, at, value in rows_read:
        if value != STALE_BITS or (series_id, at) not in last:
            last[series_id, at] = value
    return last


def read_columns(columns: Any, series_ids: Any) -> list[tuple[int, int, int | bytes]]:
    messages = columns.histograms.to_pylist()
    return [
        (
            series_id,
            at,
            messages[bits & 0xFFFF_FFFF] if bits >> 32 == HISTOGRAM_BITS >> 32 else bits,
        )
        for series_id, at, bits in zip(
            series_ids.tolist(),
            columns.timestamps_ms.tolist(),
            np.ascontiguousarray(columns.values).view(np.uint64).tolist(),
            strict=True,
        )
    ]


def read_pieces(pieces: Any) -> dict[tuple[int, int], int | bytes]:
    rows_read: list[tuple[int, int, int | bytes]] = []
    for piece in pieces:
        rows_read += read_columns(piece, np.repeat(piece.series_ids, np.diff(piece.starts)))
    keys = [row[:2] for row in rows_read]
    assert keys == sorted(set(keys))
    return {row[:2]: row[2] for row in rows_read}


def sorted_samples(columns: Columns) -> SortedSamples:
    return sort_and_deduplicate(
        columns.series_ids, columns.timestamps_ms, columns.values, columns.histograms
    )


def written(*pieces: SortedSamples) -> io.BytesIO:
    sink = io.BytesIO()
    writer = BlockWriter(sink, TENANT)
    for piece in pieces:
        writer.write(piece)
    writer.close()
    return sink


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_a_batch_gives_back_what_came(requests):
    """Requests that share a batch are read from it in their order, histograms and all."""
    [(*_, payload, histogram_bytes)] = pack_rows([write_of(rows) for rows in requests])
    columns = batch.unpack(payload)
    whole = [row for rows in requests for row in expected(rows)]
    assert read_columns(columns, columns.series_ids) == whole
    messages = [value for *_, value in whole if isinstance(value, bytes)]
    assert histogram_bytes == sum(4 + len(message) for message in messages)
    assert payload[:4] == (b"COB2" if messages else b"COB1")


@given(st.lists(ROWS, min_size=1, max_size=4), st.integers(0, 4))
def test_blocks_and_merges_keep_the_last_of_each(requests, cutoff):
    """Through batch, block, merge and retention a histogram is a sample as any other."""
    blocks = []
    for rows in requests:
        columns = batch.unpack(pack_rows([write_of(rows)])[0][4])
        blocks.append(written(sorted_samples(columns)))
        assert read_pieces(block.read(blocks[-1])) == last_of(expected(rows))
    merged = written(*merge([block.read(one) for one in blocks]))
    last = last_of([row for rows in requests for row in expected(rows)])
    assert read_pieces(block.read(merged)) == last
    pieces = (piece.where(piece.timestamps_ms >= cutoff) for piece in block.read(merged))
    left = [piece for piece in pieces if len(piece)]
    later = {key: value for key, value in last.items() if key[1] >= cutoff}
    assert (read_pieces(block.read(written(*left))) if left else {}) == later


def test_large_histograms_bound_chunks_and_groups():
    """A series with histograms is cut at 512 samples, and 16 MiB of them end a row group."""
    n, message = 1_200, bytes(16_000)
    rows: Rows = [(1, at, message) for at in range(n)] + [(2, at, 1.0) for at in range(n)]
    write = write_of(rows)
    columns = Columns(write.series_ids, write.timestamps_ms, write.values, write.histograms)
    sink = written(sorted_samples(columns))
    file = pq.ParquetFile(sink)
    lengths = file.read(columns=["samples"])["samples"].to_pylist()
    assert lengths == [512, 512, 176, 1_200]
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 2]
    assert read_pieces(block.read(sink)) == {row[:2]: row[2] for row in expected(rows)}


def test_bytes_of_histograms_end_a_compaction_run():
    """A run takes fewer batches where their histograms are large, and always one transaction."""
    large = [BatchRef(i, i, 10, True, histogram_bytes=64_000) for i in range(5)]
    assert len(batches_to_take(large, 2_500)) == 2
    assert len(batches_to_take(large, 100)) == 1


def _sections() -> list[tuple[bytes, str]]:
    payload = pack_rows([write_of([(1, 1, b"abc"), (1, 2, b"de")])])[0][4]
    columns = batch.unpack(payload)
    raw = np.empty(48, np.uint8)
    shuffle(
        columns.series_ids,
        columns.timestamps_ms,
        histograms.in_order(columns.values, columns.histograms)[0].view(np.uint64),
        raw,
    )

    def made(magic: bytes, section: bytes) -> bytes:
        body = raw.tobytes() + section
        header = magic + bytes(4) + (2).to_bytes(4, "little") + len(body).to_bytes(4, "little")
        return header + body

    sizes = np.array([3, 2], "<u4").tobytes()
    assert read_columns(batch.unpack(made(b"COB2", sizes + b"abcde")), np.array([1, 1]))
    return [
        (made(b"COB1", b""), "another number"),
        (made(b"COB1", sizes + b"abcde"), "sizes do not agree"),
        (made(b"COB2", b""), "sizes do not agree"),
        (made(b"COB2", sizes[:4] + b"abc"), "another number"),
        (made(b"COB2", sizes + b"abcdef"), "another size"),
        (made(b"COB2", sizes + b"abcd"), "another size"),
    ]


def test_a_batch_that_does_not_add_up_is_refused():
    """Histograms are as many as the samples that stand for them, and their sizes fill the body."""
    for payload, reason in _sections():
        with pytest.raises(BadPayload, match=reason):
            batch.unpack(payload)


@pytest.mark.parametrize("how", ["none", "fewer", "no column"])
def test_a_block_that_does_not_add_up_is_refused(how):
    """A chunk has one histogram for each sample that stands for one."""
    write = write_of([(1, 1, b"abc"), (1, 2, b"de"), (1, 3, 1.0)])
    columns = Columns(write.series_ids, write.timestamps_ms, write.values, write.histograms)
    file = pq.ParquetFile(written(sorted_samples(columns)))
    table = file.read()
    kind = table.schema.field("histograms").type
    at = table.schema.get_field_index("histograms")
    if how == "no column":
        table = table.drop_columns("histograms")
    else:
        lists = pa.array([None if how == "none" else [b"abc"]], kind)
        table = table.set_column(at, "histograms", lists)
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"cloudopshub.format": "block/1"}), sink)
    with pytest.raises(BadPayload, match="do not agree"):
        list(block.read(sink))


async def test_what_costs_much_is_packed_in_a_thread(monkeypatch):
    """Large histograms, or many exemplars, do not hold up the event loop; small ones need none."""
    threads = []

    def note_thread(_writes):
        threads.append(threading.get_ident())
        return []

    monkeypatch.setattr(packing, "pack_rows", note_thread)
    monkeypatch.setattr(packing, "exemplar_rows", note_thread)
    small = write_of([(1, 1, b"abc")])
    small.exemplars = [Exemplar(1, 1, 1.0, "{}")]
    large = write_of([(1, 1, bytes(packing.INLINE_SAMPLES_MAX * histograms.BYTES_OF_A_SAMPLE))])
    large.exemplars = small.exemplars * (packing.INLINE_EXEMPLARS_MAX + 1)
    for rows_of in (packing.pack_rows, packing.exemplar_rows):
        await packing.computed(rows_of, [small])
        await packing.computed(rows_of, [small, large])
    here = threading.get_ident()
    assert [one == here for one in threads] == [True, False, True, False]
