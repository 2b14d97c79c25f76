"""What compaction costs: payloads → sorted samples → counted → Parquet, and merging, with bytes a
sample.

    python -m benchmarks.bench_compaction [--series 10000] [--steps 200] [--jitter 0.3]

CPU seconds of this one thread; no Postgres. Usage is counted beside a block of the samples before
("count") and beside one of the same samples ("resend"). The gauges are TSBS-like: 10 s steps, 3 ms
of jitter on a share of the samples, a random walk of integers, of two decimals (that of the S set
has steps of 1), a counter, and full floats. "floor" is the entropy of the steps: no code that sees
only a series' last value needs fewer bytes.
"""

import argparse
import io
import time
import uuid
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from data_ingest import batch
from data_ingest.batch import Columns
from data_ingest.model import U8
from data_ingest.store import block
from data_ingest.store.block import BlockWriter, SortedSamples
from data_ingest.store.block_times import BlockTimes
from data_ingest.store.sorting import merge, sort_and_deduplicate
from data_ingest.usage.counting import Budget, Counting, Span, mark_block

BATCH_SAMPLES = 50_000
TENANT = uuid.UUID(int=1)
START_MS = 1_795_000_000_000
STEP_MS = 10_000
KINDS: dict[str, Callable[[Any, int, int], Any]] = {
    "integer gauge": lambda rng, t, s: np.cumsum(rng.integers(-1, 2, (t, s)), axis=0) + 50.0,
    "gauge, 2 decimals": lambda rng, t, s: np.round(
        50 + np.cumsum(rng.normal(0, 0.5, (t, s)), axis=0), 2
    ),
    "gauge of S": lambda rng, t, s: np.round(50 + np.cumsum(rng.normal(0, 1, (t, s)), axis=0), 2),
    "counter": lambda rng, t, s: np.cumsum(rng.integers(0, 100, (t, s)), axis=0) * 1.0,
    "full float": lambda rng, t, s: rng.normal(50, 10, (t, s)),
}


def arrival(kind: str, series: int, steps: int, jitter: float) -> Columns:
    """Samples as scrapes bring them: all series of one step, then the next step."""
    rng = np.random.default_rng(7)
    times = START_MS + np.repeat(np.arange(steps) * STEP_MS, series)
    times += rng.integers(-3, 4, times.size) * (rng.random(times.size) < jitter)
    ids = np.tile(np.arange(1, series + 1), steps)
    return Columns(ids, times, np.ascontiguousarray(KINDS[kind](rng, steps, series).ravel()))


def cpu_s(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of `work`, and what it gave."""
    started_s = time.process_time()
    result = work()
    return time.process_time() - started_s, result


def written(pieces: Any) -> bytes:
    """One block in memory."""
    sink = io.BytesIO()
    writer = BlockWriter(sink, TENANT)
    for piece in pieces:
        writer.write(piece)
    writer.close()
    return sink.getvalue()


def counted(samples: Columns, whole: SortedSamples, stored: bytes) -> int:
    """How many of the samples the block does not have."""

    def mark_stored(piece: SortedSamples, span: Span, marks: U8) -> None:
        opened = BlockTimes(io.BytesIO(stored), None)
        assert mark_block(piece, span, opened, marks, Budget(10**9))

    counting = Counting([0], [len(samples)], mark_stored)
    counting.add(samples, slice(None), whole)
    return sum(new for _, new, _ in counting.rows())


def main() -> None:
    """One line for each kind of values."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--jitter", type=float, default=0.3)
    args = parser.parse_args()
    n = args.series * args.steps
    print(f"{args.series:,} series × {args.steps} steps = {n:,} samples; CPU seconds a million")
    head = ("values", "unpack", "sort", "count", "write", "in all", "M/s", "resend", "read")
    print(("{:>18}" + "{:>10}" * 11).format(*head, "merge 4", "B/sample", "floor"))
    for kind in KINDS:
        samples = arrival(kind, args.series, args.steps, args.jitter)
        payloads = [
            batch.pack(
                Columns(
                    samples.series_ids[at : at + BATCH_SAMPLES],
                    samples.timestamps_ms[at : at + BATCH_SAMPLES],
                    samples.values[at : at + BATCH_SAMPLES],
                )
            )
            for at in range(0, n, BATCH_SAMPLES)
        ]
        report(kind, n, args.steps, payloads)


def report(kind: str, n: int, steps: int, payloads: list[bytes]) -> None:
    """Measures and prints one line."""

    def unpack() -> Columns:
        batches = [batch.unpack(payload) for payload in payloads]
        return Columns(
            np.concatenate([one.series_ids for one in batches]),
            np.concatenate([one.timestamps_ms for one in batches]),
            np.concatenate([one.values for one in batches]),
        )

    unpack_s, samples = cpu_s(unpack)
    sort_s, whole = cpu_s(
        lambda: sort_and_deduplicate(samples.series_ids, samples.timestamps_ms, samples.values)
    )
    body = written([whole])
    resend_s, _ = cpu_s(lambda: counted(samples, whole, body))
    earlier = Columns(samples.series_ids, samples.timestamps_ms - steps * STEP_MS, samples.values)
    before = written(
        [sort_and_deduplicate(earlier.series_ids, earlier.timestamps_ms, earlier.values)]
    )
    count_s, _ = cpu_s(lambda: counted(samples, whole, before))
    write_s, body = cpu_s(lambda: written([whole]))
    read_s, _ = cpu_s(lambda: list(block.read(io.BytesIO(body))))
    parts = [written([part]) for part in quarters(samples)]
    merge_s, merged = cpu_s(
        lambda: written(merge([block.read(io.BytesIO(part)) for part in parts]))
    )
    assert sum(len(piece) for piece in block.read(io.BytesIO(merged))) == n
    million = n / 1e6
    total_s = unpack_s + sort_s + count_s + write_s
    costs = [seconds / million for seconds in (unpack_s, sort_s, count_s, write_s, total_s)]
    line = [f"{cost:10.3f}" for cost in costs] + [f"{million / total_s:10.1f}"]
    after = (resend_s / million, read_s / million, merge_s / million, len(body) / n, floor(whole))
    line += [f"{cost:10.3f}" for cost in after]
    print(f"{kind:>18}" + "".join(line))


def floor(whole: SortedSamples) -> float:
    """Entropy of the steps between samples, bytes a sample; NaN where hardly any comes twice."""
    same = np.diff(np.repeat(whole.series_ids, np.diff(whole.starts))) == 0
    _, counts = np.unique(np.round(np.diff(whole.values), 6)[same], return_counts=True)
    if counts.size > same.sum() // 100:
        return float("nan")
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum() / 8)


def quarters(samples: Columns) -> list[SortedSamples]:
    """Four blocks of one window, one after another in time."""
    edges = np.linspace(0, len(samples), 5).astype(int)
    return [
        sort_and_deduplicate(
            samples.series_ids[a:b], samples.timestamps_ms[a:b], samples.values[a:b]
        )
        for a, b in pairwise(edges)
    ]


if __name__ == "__main__":
    main()
