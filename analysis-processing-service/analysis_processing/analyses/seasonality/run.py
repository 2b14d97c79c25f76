"""Seasonality: how well a series' other cycles foretell each of its cycles.

    hour, day, week ──────────┐
    peaks of the periodogram ─┴─▶ minus the mean of a period around each sample ─▶ cycles × phases
                                  ─▶ mean of the other cycles ─▶ share of the variance foretold

Around the moving mean a drift is no rhythm. Out of sample noise foretells nothing; a wandering
series may, while there are few cycles, so those must foretell more.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np

from analysis_processing.analyses.block import F64, Block, Part, SeriesResult
from analysis_processing.analyses.robust import clock, span, standardised

NAMED_MS = (3_600_000, 86_400_000, 604_800_000)
PHASES_MAX = 168
PHASES_MIN = 6
CYCLES_MIN = 3
NAMELESS_CYCLES_MIN = 6
DOUBT = 1.0  # of the variance, shared by the cycles: more must be foretold while they are few
SAMPLES_MIN = 32
PEAKS = 3  # of the periodogram are tried beside the named rhythms
GAIN_MIN = 0.05  # of the variance, for a longer or nameless rhythm to displace another
REACH = 4.0  # spreads from the median; what is farther counts as so far


def run(block: Block, params: dict[str, Any], context: Any) -> Part:
    """Each series with its ruling rhythm and the strength of those that were looked for."""
    scaled = standardised(block.values, REACH)
    counts = np.count_nonzero(~np.isnan(scaled), axis=1)
    named = [
        period_ms // block.step_ms
        for period_ms in NAMED_MS
        if period_ms % block.step_ms == 0 and fits(period_ms // block.step_ms, scaled.shape[1])
    ]
    strengths = {
        period: foretold(scaled, block.start_ms // block.step_ms, period) for period in named
    }
    results = []
    for row, labels in enumerate(block.labels):
        if counts[row] < SAMPLES_MIN:
            results.append(SeriesResult(labels, note=f"fewer than {SAMPLES_MIN} samples"))
        elif np.nanmin(scaled[row]) == np.nanmax(scaled[row]):
            results.append(SeriesResult(labels, note="constant"))
        else:
            own = {period: float(strengths[period][row]) for period in named}
            results.append(of_series(block, row, scaled[row], own, params["strength_min"]))
    return Part(block.start_ms, block.step_ms, block.values.shape[1], results)


def fits(period: int, steps: int, cycles_min: int = CYCLES_MIN) -> bool:
    """Whether there are phases enough in a period and periods enough in the range."""
    return period >= PHASES_MIN and steps >= cycles_min * period


def around_mean(scaled: F64, period: int) -> F64:
    """Distances from the mean of the period around each sample; NaN where that is not whole.

    The mean must have half of its samples.
    """
    valid = ~np.isnan(scaled)
    half, steps = period // 2, scaled.shape[1]
    sums = np.cumsum(np.where(valid, scaled, 0.0), axis=1)
    counts = np.cumsum(valid, axis=1)
    around = np.full(scaled.shape, np.nan)
    inner = slice(half + 1, steps - period + half + 1)
    samples = counts[:, period:] - counts[:, :-period]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = (sums[:, period:] - sums[:, :-period]) / samples
    around[:, inner] = scaled[:, inner] - np.where(2 * samples >= period, means, np.nan)
    return around


def cells_of(around: F64, first_step: int, period: int) -> tuple[F64, F64]:
    """Counts and sums of the samples, both (series, cycle, phase), counted from the epoch."""
    phases = min(period, PHASES_MAX)
    at = first_step + np.arange(around.shape[1])
    cells = at // period * phases + at % period * phases // period
    starts = np.flatnonzero(np.diff(cells, prepend=cells[0] - 1))
    cycles = cells[starts] // phases - cells[0] // phases
    shape = (2, len(around), int(cycles[-1]) + 1, phases)
    valid = ~np.isnan(around)
    cube = np.zeros(shape)
    for row, samples in enumerate((valid.astype(np.float64), np.where(valid, around, 0.0))):
        cube[row][:, cycles, cells[starts] % phases] = np.add.reduceat(samples, starts, axis=1)
    return cube[0], cube[1]


def foretold(scaled: F64, first_step: int, period: int) -> F64:
    """(series,) share of the variance that other cycles foretell; below 0: they mislead."""
    around = around_mean(scaled, period)
    samples = np.maximum(np.count_nonzero(~np.isnan(around), axis=1), 1)
    around -= (np.nansum(around, axis=1) / samples)[:, None]
    counts, sums = cells_of(around, first_step, period)
    others = counts.sum(axis=1, keepdims=True) - counts
    with np.errstate(divide="ignore", invalid="ignore"):
        guesses = np.where(others > 0, (sums.sum(axis=1, keepdims=True) - sums) / others, 0.0)
        total = np.nansum(around**2, axis=1)
        gain = (2.0 * guesses * sums - counts * guesses**2).sum(axis=(1, 2))
        shares: F64 = np.where(total > 1e-9 * scaled.shape[1], gain / total, 0.0)
    return shares


def peaks_of(scaled: F64) -> list[int]:
    """Periods in steps at which one series' periodogram is highest; its drift is taken off."""
    steps = np.arange(scaled.size)
    valid = ~np.isnan(scaled)
    slope, level = np.polyfit(steps[valid], scaled[valid], 1)
    power = np.abs(np.fft.rfft(np.where(valid, scaled - level - slope * steps, 0.0))) ** 2
    inner = np.flatnonzero((power[1:-1] > power[:-2]) & (power[1:-1] >= power[2:])) + 1
    highest = inner[np.argsort(-power[inner], kind="stable")[:PEAKS]]
    periods = []
    for index in highest.tolist():
        left, middle, right = np.log(power[index - 1 : index + 2] + 1e-300)
        bend = left - 2 * middle + right
        offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
        periods.append(round(scaled.size / (index + offset)))
    return [period for period in periods if fits(period, scaled.size, NAMELESS_CYCLES_MIN)]


def of_series(
    block: Block, row: int, scaled: F64, named: dict[int, float], strength_min: float
) -> SeriesResult:
    """One series: the shortest rhythm that no other beats clearly rules it."""
    first_step = block.start_ms // block.step_ms
    strengths = dict(named)
    for period in peaks_of(scaled):
        if all(abs(period - other) > 0.05 * other for other in strengths):
            strengths[period] = float(foretold(scaled[None], first_step, period)[0])
    ruling = None
    for period in sorted(strengths, key=lambda period: (period not in named, period)):
        enough = strength_min + DOUBT * period / scaled.size
        if strengths[period] > (max(strengths[ruling] + GAIN_MIN, enough) if ruling else enough):
            ruling = period
    facts: dict[str, Any] = {"rhythm": None, "strength": 0.0}
    if ruling:
        facts = {
            "rhythm": span(ruling * block.step_ms),
            "strength": round(strengths[ruling], 4),
        } | extremes(scaled, block, ruling)
    for period in sorted(strengths):
        facts[f"strength_{span(period * block.step_ms)}"] = round(max(strengths[period], 0.0), 4)
    return SeriesResult(
        block.labels[row],
        score=facts["strength"],
        facts=facts,
        columns={"values": block.values[row]},
    )


def extremes(scaled: F64, block: Block, period: int) -> dict[str, Any]:
    """When in its rhythm the series is highest and lowest."""
    around = around_mean(scaled[None], period)
    counts, sums = cells_of(around, block.start_ms // block.step_ms, period)
    with np.errstate(divide="ignore", invalid="ignore"):
        profile = sums[0].sum(axis=0) / counts[0].sum(axis=0)
    period_ms = period * block.step_ms
    places = {"highest": int(np.nanargmax(profile)), "lowest": int(np.nanargmin(profile))}
    return {
        name: when(phase * period_ms // profile.size, period_ms, int(block.times_ms[-1]))
        for name, phase in places.items()
    }


def when(into_ms: int, period_ms: int, end_ms: int) -> str:
    """A place in a rhythm, in words (UTC); its last time where the rhythm has no name."""
    moment = datetime.fromtimestamp(into_ms / 1000, UTC)
    if period_ms == NAMED_MS[2]:
        return f"{moment:%A %H:%M} UTC"
    if period_ms == NAMED_MS[1]:
        return f"{moment:%H:%M} UTC"
    if period_ms == NAMED_MS[0]:
        return f"minute {moment:%M}"
    return f"last at {clock(end_ms - (end_ms - into_ms) % period_ms)}"


def conclude(results: list[SeriesResult], params: dict[str, Any], context: Any) -> dict[str, Any]:
    """How many series each rhythm rules, and the hours at which most are highest and lowest."""
    judged = [result for result in results if result.note is None]
    ruled = [result for result in judged if result.facts["rhythm"]]
    rhythms = []
    for rhythm, count in Counter(result.facts["rhythm"] for result in ruled).most_common(10):
        those = [result for result in ruled if result.facts["rhythm"] == rhythm]
        rhythms.append(
            {
                "rhythm": rhythm,
                "series": count,
                "strength": round(float(np.median([one.facts["strength"] for one in those])), 4),
            }
            | {
                place: Counter(one.facts[place] for one in those).most_common(1)[0][0]
                for place in ("highest", "lowest")
            }
        )
    sentence = f"none of {len(judged):,} series has a rhythm"
    if rhythms:
        first = rhythms[0]
        sentence = f"{first['series']:,} of {len(judged):,} series repeat every {first['rhythm']}"
    return {"sentence": sentence, "rhythms": rhythms}
