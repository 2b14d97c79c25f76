"""Bit rot in a block is never an answer: every byte is checked before it is decoded."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_api.chassis.objects import Directory
from data_api.errors import CorruptData
from data_api.store.block import BlockReader, BlockRef, translated_errors

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "store"
EVER = (-(2**62), 2**62)
WHOLE = (GOLDEN / "block.parquet").read_bytes()
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
DIGEST = bytes.fromhex(EXPECTED["tail_sha256"])
WRITTEN = {tuple(row) for row in EXPECTED["block"]}
IDS = np.unique([row[0] for row in EXPECTED["block"]])
BLOCK = BlockRef(1, 1, *EVER, len(WRITTEN), len(WHOLE), "block.parquet", DIGEST)


def samples_in(folder, content, warn=None):
    """(series id, ms, bits of the value) of each sample that a new reader finds."""
    (folder / BLOCK.object_key).write_bytes(content)
    reader = BlockReader(Directory(folder), 1 << 20)
    return {
        (int(owner), at, f"{bits:016x}")
        for fragment in reader.fragments(BLOCK, IDS, EVER, warn)
        for owner, at, bits in zip(
            np.repeat(IDS[fragment.positions], fragment.counts),
            fragment.timestamps_ms.tolist(),
            np.ascontiguousarray(fragment.values).view(np.uint64).tolist(),
            strict=True,
        )
    }


def flipped(at):
    """The golden block with one bit of the byte at `at` flipped."""
    changed = bytearray(WHOLE)
    changed[at] ^= 1 << at % 8
    return bytes(changed)


def test_memory_that_ran_out_is_no_corruption():
    """Nothing is wrong with the block: it is not left out of an answer as if it were."""
    with pytest.raises(MemoryError), translated_errors(BLOCK):
        raise pa.ArrowMemoryError


def test_a_flipped_bit_anywhere_is_named(tmp_path):
    """Magic, page headers, data, footer, its length: each flip is told, and no sample that was not
    written is read. Every fifth byte and both ends; the writer's tests flip all.
    """
    assert samples_in(tmp_path, WHOLE) == WRITTEN
    for at in [*range(0, len(WHOLE) - 12, 5), *range(len(WHOLE) - 12, len(WHOLE))]:
        told: list[str] = []
        assert samples_in(tmp_path, flipped(at), told.append) < WRITTEN, at
        assert all(BLOCK.object_key in text for text in told)
        assert told


@pytest.mark.parametrize(
    "content",
    [WHOLE[:-1], WHOLE[1:], WHOLE + b"1", WHOLE[:50] + WHOLE[49:], b"", flipped(20), flipped(-1)],
    ids=["cut", "beheaded", "longer", "shifted", "empty", "body", "tail"],
)
def test_who_takes_no_partial_answer_gets_an_error(tmp_path, content):
    """Without somebody to warn, a corrupt block is an error that names it."""
    with pytest.raises(CorruptData, match=r"object=block\.parquet"):
        samples_in(tmp_path, content)


def test_series_of_a_corrupt_block_are_an_error(tmp_path):
    """Which series a corrupt row group has is not known, so the lookup is refused."""
    (tmp_path / BLOCK.object_key).write_bytes(flipped(20))
    with pytest.raises(CorruptData):
        BlockReader(Directory(tmp_path), 1 << 20).mark_present(BLOCK, IDS, EVER, IDS.copy())


def test_a_block_written_before_there_were_checks_is_read(tmp_path):
    """Neither sums nor a digest: as it stands; sums without a digest are held against all the same;
    a digest without sums is an error.
    """
    reader = BlockReader(Directory(tmp_path), 1 << 20)
    unchecked = replace(BLOCK, object_key="old.parquet", tail_sha256=None)
    table = pq.read_table(GOLDEN / "block.parquet")
    keys = {"cloudopshub.format": "block/2"}
    pq.write_table(table.replace_schema_metadata(keys), tmp_path / "old.parquet")
    (found,) = reader.fragments(unchecked, IDS, EVER)
    assert found.timestamps_ms.size == len(WRITTEN)
    with pytest.raises(CorruptData, match="differs from its digest"):
        BlockReader(Directory(tmp_path), 1 << 20).mark_present(
            replace(unchecked, tail_sha256=DIGEST), IDS, EVER, IDS.copy()
        )
    for content, is_whole in ((flipped(20), False), (WHOLE, True)):
        (tmp_path / "new.parquet").write_bytes(content)
        told: list[str] = []
        list(reader.fragments(replace(unchecked, object_key="new.parquet"), IDS, EVER, told.append))
        assert bool(told) is not is_whole


def test_a_restored_object_is_read_again(tmp_path):
    """Nothing is remembered of a corrupt read: the object put back is read by the same reader."""
    path = tmp_path / BLOCK.object_key
    reader = BlockReader(Directory(tmp_path), 1 << 20)
    for content, is_whole in ((flipped(-30), False), (flipped(20), False), (WHOLE, True)):
        path.write_bytes(content)
        told: list[str] = []
        assert bool(list(reader.fragments(BLOCK, IDS, EVER, told.append))) is is_whole
        assert bool(told) is not is_whole
