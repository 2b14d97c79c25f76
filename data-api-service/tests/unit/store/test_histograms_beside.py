"""Native histograms stay with their samples on every way through the store."""

import tempfile
import uuid
from pathlib import Path

import numpy as np
import pytest
from factories import encode_batch, write_block
from histograms import HISTOGRAM_BITS
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_values import STALE, bits_of

from data_api.chassis.objects import Directory
from data_api.errors import CorruptData
from data_api.store import batch
from data_api.store.block import BlockReader, BlockRef
from data_api.store.fragments import merge
from data_api.store.head import BatchRef, Head

VALUES = st.one_of(
    st.sampled_from([1.0, float("nan"), STALE]),
    st.integers(0, 99).map(lambda number: b"histogram %d" % number),
)
SAMPLES = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 6), VALUES), min_size=1, max_size=9)
IDS = np.arange(1, 4)
ALL = (-(10**9), 10**9)


def wanted_of(requests):
    """(series, ms) → value: the last one; a stale marker only where there is no other."""
    wanted = {}
    for series_id, ms, value in (sample for request in requests for sample in request):
        is_stale = not isinstance(value, bytes) and bits_of(value) == bits_of(STALE)
        if not is_stale or (series_id, ms) not in wanted:
            wanted[series_id, ms] = value if isinstance(value, bytes) else bits_of(value)
    return wanted


def read(fragments):
    """The same of what was read."""
    merged = merge(fragments, IDS.size)
    owners = np.repeat(IDS, np.diff(merged.offsets)).tolist()
    bits = merged.values.view(np.uint64).tolist()
    return {
        (owner, ms): merged.histograms[one & 0xFFFFFFFF] if one >> 32 == 0x7FFC0C0B else one
        for owner, ms, one in zip(owners, merged.timestamps_ms.tolist(), bits, strict=True)
    }


def columns_of(samples):
    return batch.decode(encode_batch(*zip(*samples, strict=True)))


def head_of(requests):
    head = Head()
    for number, samples in enumerate(requests, 1):
        ref = BatchRef(number, number, 0, 6, len(samples), 100)
        head = head.add({ref: columns_of(samples)})
    return head


@settings(deadline=None)
@given(st.lists(SAMPLES, max_size=12), st.integers(0, 12), st.integers(0, 6), st.integers(0, 6))
def test_any_mix_of_blocks_and_batches_gives_the_last_values(requests, in_block, first, last):
    """Histograms, floats and stale markers of one series in a block, in old and new batches."""
    old, new = requests[:in_block], requests[in_block:]
    fragments = []
    with tempfile.TemporaryDirectory() as folder:
        if old:
            samples = [sample for request in old for sample in request]
            digest = write_block(Path(folder) / "b", uuid.uuid4(), samples, chunk=2, group=2)
            block = BlockRef(1, 1, 0, 6, len(samples), 1, "b", digest)
            reader = BlockReader(Directory(Path(folder)), 1 << 20)
            fragments += reader.fragments(block, IDS, (first, last))
    fragments += head_of(new).fragments(IDS, (first, last))
    inside = {key: value for key, value in wanted_of(requests).items() if first <= key[1] <= last}
    assert read(fragments) == inside


@given(st.lists(SAMPLES, min_size=1, max_size=8), st.sets(st.integers(1, 8)))
def test_batches_that_are_gone_take_their_histograms_with_them(requests, gone):
    """What is left is what the other batches say."""
    head = head_of(requests)
    live = frozenset(ref for ref in head.batches if ref.batch_id not in gone)
    left = [samples for number, samples in enumerate(requests, 1) if number not in gone]
    assert read(head.only(live).fragments(IDS, ALL)) == wanted_of(left)
    assert head.nbytes >= 100 * len(requests)


@given(SAMPLES, st.sampled_from([batch.STORED, batch.ZSTD]))
def test_rows_of_a_batch_keep_their_histograms(samples, codec):
    """Each other sample of a batch, in order."""
    columns = batch.decode(encode_batch(*zip(*samples, strict=True), codec))
    left = columns.take(np.arange(0, len(samples), 2))
    places = left.values.view(np.uint64) & np.uint64(0xFFFFFFFF)
    for place, wanted, bits in zip(
        places.tolist(), samples[::2], left.values.view(np.uint64).tolist(), strict=True
    ):
        is_named = bits >> 32 == HISTOGRAM_BITS >> 32
        assert (left.histograms[place] if is_named else bits) == (
            wanted[2] if isinstance(wanted[2], bytes) else bits_of(wanted[2])
        )


def test_histograms_that_are_not_there_are_refused():
    """A batch that names one and has none, has one and names none, or is cut, is corrupt."""
    payload = bytearray(encode_batch([1], [1], [b"x" * 40], 0))
    batch.decode(bytes(payload))
    first_version = bytes(payload[:3]) + b"1" + bytes(payload[4:12]) + b"\x18\0\0\0"
    for broken in (
        first_version + bytes(payload[16 : 16 + 24]),
        bytes(payload[:-1]),
        bytes(payload[:12]) + b"\x1c\0\0\0" + bytes(payload[16 : 16 + 28]),
        bytes(payload[:16]) + bytes(24) + bytes(payload[40:]),
    ):
        with pytest.raises(CorruptData):
            batch.decode(broken)
