"""Laws of which writes one transaction holds, against a real Postgres."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client import REGISTRY

from data_ingest.errors import StoreUnavailable
from data_ingest.histograms import BYTES_OF_A_SAMPLE, HISTOGRAM_BITS
from data_ingest.labels import NewSeries
from data_ingest.model import Exemplar
from data_ingest.store import writer as writing
from data_ingest.store.packing import LABEL_CHARACTERS_OF_A_SAMPLE, Write
from data_ingest.store.write_queue import WriterBounds
from data_ingest.store.writer import Writer

BOUNDS = WriterBounds(2_000_000, 50_000, 10_000, 600.0, 2.0, 3600.0)
WAIT_S = 600.0


@contextlib.asynccontextmanager
async def connected(url: str, bounds: WriterBounds = BOUNDS) -> AsyncIterator[Writer]:
    writer = Writer(url, bounds)
    await writer.start()
    try:
        async with asyncio.timeout(WAIT_S):
            while not await is_up(writer):  # noqa: ASYNC110 - a server's state, bounded
                await asyncio.sleep(0.01)
        yield writer
    finally:
        await writer.close()


async def is_up(writer: Writer) -> bool:
    with contextlib.suppress(StoreUnavailable):
        return bool(await writer.check())
    return False


def write(samples: int = 1) -> Write:
    ones = np.ones(samples, np.int64)
    return Write(uuid4(), ones, ones, np.ones(samples))


def transactions() -> float:
    return REGISTRY.get_sample_value("cloudopshub_ingest_flush_writes_count") or 0.0


async def commit_together(writer: Writer, *writes: Write) -> None:
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(writer.commit(one) for one in writes))


async def test_senders_that_were_answered_together_share_the_next_transaction(
    store_url, monkeypatch
):
    """The first to come again waits for the others, and no longer than until they are there."""
    monkeypatch.setattr(writing, "GATHER_S", 2 * WAIT_S)
    async with connected(store_url) as writer:
        await commit_together(writer, write(), write())
        before = transactions()
        early = asyncio.create_task(writer.commit(write()))
        await asyncio.sleep(0.05)
        assert not early.done()
        await commit_together(writer, write())
        await early
        assert transactions() == before + 1


async def test_a_lone_sender_waits_for_nobody(store_url, monkeypatch):
    """What one sender writes is committed at once, however often it writes."""
    monkeypatch.setattr(writing, "GATHER_S", 2 * WAIT_S)
    async with connected(store_url) as writer:
        for _ in range(3):
            await commit_together(writer, write())


async def test_a_large_write_waits_for_nobody(store_url, monkeypatch):
    """A transaction that has many samples already begins without the senders answered before."""
    monkeypatch.setattr(writing, "GATHER_S", 2 * WAIT_S)
    async with connected(store_url) as writer:
        await commit_together(writer, write(), write())
        await commit_together(writer, write(writing.GATHER_SAMPLES_MAX))


@pytest.mark.parametrize("others", [1, 3])
async def test_senders_that_do_not_come_again_are_not_waited_for(store_url, others):
    """The wait for them has an end, after which the write is committed."""
    async with connected(store_url) as writer:
        await commit_together(writer, *(write() for _ in range(1 + others)))
        await commit_together(writer, write())


@pytest.mark.parametrize("kind", ["exemplars", "histograms", "labels"])
async def test_exemplars_histograms_and_labels_weigh_in_a_transaction(store_url, kind):
    """One transaction holds no more of them than of the samples that they weigh as."""
    writes = [write() for _ in range(4)]
    for i, one in enumerate(writes):
        if kind == "exemplars":
            one.exemplars = [Exemplar(1, at, 1.0, "{}") for at in (1, 2)]
        elif kind == "labels":
            text = json.dumps({"a": str(i) * 2 * LABEL_CHARACTERS_OF_A_SAMPLE})
            one.new = [NewSeries(i.to_bytes(16), text)]
        else:
            one.values = np.array([HISTOGRAM_BITS], np.uint64).view(np.float64)
            one.histograms = pa.array([bytes(2 * BYTES_OF_A_SAMPLE)], pa.large_binary())
        assert one.weight == 3
    async with connected(store_url, replace(BOUNDS, flush_samples_max=6)) as writer:
        before = transactions()
        await commit_together(writer, *writes)
        assert transactions() == before + 2
