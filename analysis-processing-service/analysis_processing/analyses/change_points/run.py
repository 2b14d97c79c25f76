"""Change points: a series as stretches of one level each.

    samples ─▶ thinned ─▶ median of three ─▶ tails bent in ─▶ in units of its noise
            ─▶ KernelCPD ─▶ what is no stair ─▶ places refined

The noise counts with its memory: where neighbouring samples resemble each other, a mean of many is
hardly surer than one. What remains of a slope, a walk or a wave are stairs: at a step the level
moves at once, and much further than it does in as short a time elsewhere.
"""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np

from analysis_processing.analyses.block import F64, I64, Block, Part, SeriesResult
from analysis_processing.analyses.changes.shift import step_at
from analysis_processing.analyses.robust import clock, move, number, quantiles, shown, standardised

SAMPLES_MIN = 16
POINTS_MAX = 2_000
STRETCH_MIN = 4
STEPS_MAX = 100
SHARP = 0.5  # of the move between stretches happens within a quarter of the shorter one
SUDDEN = 3.2  # usual deviations of moves in as short a time
MEMORY_SHARE = 1 / 40  # of the series' length, over which its memory is looked for
SCORE_MAX = 1000.0
TOGETHER_MS = 300_000
LISTED_MAX = 20


def run(block: Block, params: dict[str, Any], context: Any) -> Part:
    """Each series with a finding a step, and its levels as `expected`."""
    results = [of_series(block, row, params["penalty"]) for row in range(len(block.labels))]
    return Part(block.start_ms, block.step_ms, block.values.shape[1], results)


def of_series(block: Block, row: int, penalty: float) -> SeriesResult:
    """The steps of one series."""
    labels, values = block.labels[row], block.values[row]
    columns = np.flatnonzero(~np.isnan(values))
    if columns.size < SAMPLES_MIN:
        return SeriesResult(labels, note=f"fewer than {SAMPLES_MIN} samples")
    samples = standardised(values[None, columns], 1e6)[0]
    if (samples == samples[0]).all():
        return SeriesResult(labels, note="constant")
    places, noise = steps_of(samples, penalty)
    bounds = [0, *places, columns.size]
    pairs = list(pairwise(bounds))
    levels = [float(quantiles(values[None, columns[a:b]], 0.5)[0, 0]) for a, b in pairs]
    centres = np.array([np.median(samples[a:b]) for a, b in pairs])
    jumps = np.minimum(np.abs(np.diff(centres)) / max(noise, 1e-9), SCORE_MAX)
    expected = np.full(values.size, np.nan)
    starts = [int(columns[0]), *columns[places].tolist(), values.size]
    for level, first, last in zip(levels, starts[:-1], starts[1:], strict=True):
        expected[first:last] = level
    findings = []
    for index, start in enumerate(starts[1:-1]):
        start_ms, jump = block.start_ms + start * block.step_ms, float(jumps[index])
        before, after = levels[index : index + 2]
        text = (
            f"{'rose' if after > before else 'fell'} from {shown(before)} to {shown(after)} "
            f"at {clock(start_ms)}, {jump:.1f} times its noise"
        )
        findings.append(move("change", (start_ms, None), jump, (before, after), text))
    return SeriesResult(
        labels,
        score=round(float(jumps.max(initial=0.0)), 3),
        facts={"steps": len(findings), "level": number(levels[-1])},
        findings=findings,
        columns={"values": values, "expected": expected},
    )


def steps_of(samples: F64, penalty: float) -> tuple[I64, float]:
    """The first sample of each new stretch, ascending, and the noise around the levels.

    samples: (n,) finite. At most STEPS_MAX, those that explain most.
    Source: ruptures' KernelCPD, linear kernel (Celisse et al. 2018).
    """
    import ruptures  # noqa: PLC0415 - 100 MB, for jobs of this kind only

    width = -(-samples.size // POINTS_MAX)
    whole = samples.size // width * width
    thin = np.median(samples[:whole].reshape(-1, width), axis=1)
    padded = np.concatenate((thin[:1], thin, thin[-1:]))
    smooth = np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    noise, bent = noise_of(smooth)[0], np.arcsinh(smooth)
    unit = noise_of(bent)[1]
    if unit == 0.0:
        return np.empty(0, dtype=np.int64), 0.0
    search = ruptures.KernelCPD(kernel="linear", min_size=STRETCH_MIN)
    ends = search.fit((bent / unit).reshape(-1, 1)).predict(pen=penalty * np.log(bent.size))
    places = steepest(bent, np.array([0, *ends], dtype=np.int64)) * width
    near = STRETCH_MIN * width
    edges = np.concatenate(([0], (places[1:] + places[:-1]) // 2, [samples.size]))
    for index, place in enumerate(places.tolist()):
        first = max(int(edges[index]), place - near)
        last = min(int(edges[index + 1]), place + near)
        places[index] = first + step_at(samples[first:last])
    return places, noise


def steepest(samples: F64, bounds: I64) -> I64:
    """The inner bounds at which the level moves at once; at most STEPS_MAX, ascending."""
    sums = np.concatenate(([0.0], np.cumsum(samples)))
    steps = []
    for first, cut, last in zip(bounds[:-2], bounds[1:-1], bounds[2:], strict=True):
        near = max(min(cut - first, last - cut) // 4, STRETCH_MIN)
        means = (sums[near:] - sums[:-near]) / near
        moves = means[near:] - means[:-near]
        usual = np.quantile(np.abs(moves), 0.25) / 0.3186  # few steps hardly move it
        whole = abs(
            (sums[last] - sums[cut]) / (last - cut) - (sums[cut] - sums[first]) / (cut - first)
        )
        move = abs(moves[cut - near])
        if move >= max(SHARP * whole, SUDDEN * usual):
            steps.append((-whole, cut))
    return np.array(sorted(cut for _, cut in sorted(steps)[:STEPS_MAX]), dtype=np.int64)


def noise_of(samples: F64) -> tuple[float, float]:
    """The standard deviation around the levels, and that of a mean times the root of its size.

    Both from differences over 1, 2, 4 … samples: how they grow with the distance is the memory of
    the noise. By their median, which a few steps do not move, or by the mean where that is 0.
    """
    farthest = max(int(samples.size * MEMORY_SHARE), 2)
    distances = np.unique(np.append(2 ** np.arange(farthest.bit_length()), farthest))
    distances = distances[distances <= farthest]
    moves = [np.abs(samples[gap:] - samples[:-gap]) for gap in distances.tolist()]
    squares = np.array([(np.median(move) / 0.6745) ** 2 for move in moves])
    if squares[0] == 0.0:
        squares = np.array([np.mean(move**2) for move in moves])
    variance = max(float(squares[-1]), float(squares[0])) / 2.0
    if variance == 0.0:
        return 0.0, 0.0
    alike = np.interp(np.arange(1, farthest), distances, 1.0 - squares / (2.0 * variance))
    memory = 1.0 + 2.0 * float(np.maximum(alike, 0.0).sum())
    return float(np.sqrt(variance)), float(np.sqrt(variance * memory))


def conclude(results: list[SeriesResult], params: dict[str, Any], context: Any) -> dict[str, Any]:
    """How many series moved, and the times at which most of them did (by TOGETHER_MS)."""
    moved = [result for result in results if result.findings]
    starts = [{one.start_ms // TOGETHER_MS for one in result.findings} for result in moved]
    times = Counter(start for those in starts for start in those)
    common = sorted(times.items(), key=lambda item: (-item[1], item[0]))[:LISTED_MAX]
    sentence = f"{len(moved):,} of {len(results):,} series moved to another level"
    if common and common[0][1] > 1:
        sentence += f"; {common[0][1]:,} of them around {clock(common[0][0] * TOGETHER_MS)}"
    return {
        "sentence": sentence,
        "times": [{"start_ms": start * TOGETHER_MS, "series": count} for start, count in common],
    }
