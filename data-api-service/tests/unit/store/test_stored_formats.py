"""What data-ingest-service writes is read here, bit for bit, without a line of its code.

The files in `tests/golden/store` are twins of those that its own tests hold its writer to.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from data_api import histogram_codec
from data_api.chassis.objects import Directory
from data_api.store import batch
from data_api.store.block import BlockReader, BlockRef

HERE = Path(__file__).resolve().parents[2] / "golden" / "store"
EVER = (-(2**62), 2**62)


@pytest.fixture(scope="module")
def expected():
    return json.loads((HERE / "expected.json").read_text())


def rows_of(ids, timestamps_ms, values):
    bits = [f"{value:016x}" for value in np.ascontiguousarray(values).view(np.uint64).tolist()]
    return [list(row) for row in zip(ids.tolist(), timestamps_ms.tolist(), bits, strict=True)]


def test_a_batch_of_the_ingest_service_is_read_bit_for_bit(expected):
    """Arrival order, stale markers, NaN payloads and -0.0 are kept."""
    found = batch.decode((HERE / "batch.cob1").read_bytes())
    assert rows_of(found.series_ids, found.timestamps_ms, found.values) == expected["batch"]


def block_rows(name, ids, span):
    digest = bytes.fromhex(json.loads((HERE / "expected.json").read_text())["tail_sha256"])
    is_first_version = name == "block-1.parquet"  # whose digest is not in the catalogue
    block = BlockRef(1, 1, *EVER, 0, 0, name, None if is_first_version else digest)
    reader = BlockReader(Directory(HERE), 1 << 20)
    rows = []
    for source in reader.fragments(block, ids, span):
        fragment = source.copied()
        owners = np.repeat(ids[fragment.positions], fragment.counts)
        rows += rows_of(owners, fragment.timestamps_ms, fragment.values)
    return rows


@pytest.mark.parametrize("name", ["block.parquet", "block-1.parquet"])
def test_a_block_of_the_ingest_service_is_read_bit_for_bit(expected, name):
    """Of both versions: all of it; one series that goes on in the second row group; a span that
    cuts chunks.
    """
    ids = np.unique([row[0] for row in expected["block"]])
    assert block_rows(name, ids, EVER) == expected["block"]
    assert block_rows(name, np.array([7]), EVER) == [
        row for row in expected["block"] if row[0] == 7
    ]
    times = [row[1] for row in expected["block"] if row[0] == 7]
    span = (times[2], times[-3])
    inside = [row for row in expected["block"] if span[0] <= row[1] <= span[1]]
    assert block_rows(name, ids, span) == inside


def with_histograms(ids, timestamps_ms, values, histograms):
    """Rows of series, ms, bits as they are stored, and the histogram in hexadecimal."""
    rows = []
    for row in rows_of(ids, timestamps_ms, values):
        is_native = row[2].startswith("7ffc0c0b")
        message = histograms[int(row[2][8:], 16)].hex() if is_native else None
        rows.append([*row[:2], row[2][:8] + "00000000" if is_native else row[2], message])
    return rows


def test_histograms_of_the_ingest_service_are_read_byte_for_byte():
    """Of both kinds of counts and of custom bounds, beside floats and stale markers, in a batch and
    in a block; each is one that can be decoded.
    """
    expected = json.loads((HERE / "histograms.json").read_text())
    decoded = batch.decode((HERE / "histograms.cob2").read_bytes())
    columns = (decoded.series_ids, decoded.timestamps_ms, decoded.values, decoded.histograms)
    assert with_histograms(*columns) == expected["batch"]
    block = BlockRef(1, 1, EVER[0], EVER[1], 0, 0, "histograms.parquet")
    ids = np.unique([row[0] for row in expected["block"]])
    rows = []
    for part in BlockReader(Directory(HERE), 1 << 20).fragments(block, ids, EVER):
        owners = np.repeat(ids[part.positions], part.counts)
        rows += with_histograms(owners, part.timestamps_ms, part.values, part.histograms)
        assert all(histogram_codec.decode(one).count > 0 for one in part.histograms)
    assert rows == expected["block"]
