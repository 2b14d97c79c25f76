"""The past as it is forecast from: a step that fits the horizon, origins of the backtest."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis_processing.analyses.block import F64, I64, Block
from analysis_processing.analyses.parameters import AUTO_SEASONS_MS, DURATION, UNITS_MS

AHEAD_MAX = 168  # steps of a horizon; a finer block is averaged into longer steps
HISTORY_MAX = 8_064  # steps of the past that count: 4 weeks of 5 min
PHASES_MIN = 4
SAMPLES_MIN = 16
ORIGINS = 24  # of the backtest
HELD_OUT_ORIGINS = 6  # of these, the latest: what the booster never learns from
MAGNITUDE_MAX = 1e100
NICE_STEPS_MS = tuple(
    seconds * 1_000
    for seconds in (5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400)
) + tuple(hours * 3_600_000 for hours in (6, 8, 12, 24))


@dataclass(frozen=True, slots=True)
class History:
    """The series on the step of the forecast, NaN = no sample; the last column ends the block.

    values: (series, time), less `offsets` (series, 1), the first samples. ahead: steps of the
    horizon. begins: (series,) first samples. origins: (series, ORIGINS + 1) ascending, the last is
    the end. seasons: lengths in steps, ascending. notes: why a series cannot be forecast, or None.
    """

    values: F64
    offsets: F64
    step_ms: int
    end_ms: int
    ahead: int
    begins: I64
    origins: I64
    seasons: tuple[int, ...]
    notes: list[str | None]

    @property
    def first_step(self) -> int:
        """The number of the first column since the epoch."""
        return self.end_ms // self.step_ms - int(self.values.shape[1]) + 1

    @property
    def held_out(self) -> int:
        """Steps before the end that the booster never learns from."""
        return held_out(self.ahead, int(self.values.shape[1]))

    def future(self) -> F64:
        """(series, origins but the last, ahead): what really came after each origin."""
        steps = self.origins[:, :-1, None] + np.arange(self.ahead)
        steps = np.minimum(steps, self.values.shape[1] - 1)
        future: F64 = self.values[np.arange(len(steps))[:, None, None], steps]
        return future


def held_out(ahead: int, steps: int) -> int:
    """One horizon and a half, at most half of the history: a season may need the other half."""
    return min(ahead + ahead // 2, max(steps // 2, 1))


def coarser(step_ms: int, horizon_ms: int) -> int:
    """How many steps become one, so that the horizon has at most AHEAD_MAX of them.

    Steps that divide an hour or a day come first, since seasons must be whole numbers of them.
    """
    if horizon_ms <= AHEAD_MAX * step_ms:
        return 1
    for nice_ms in NICE_STEPS_MS:
        if nice_ms % step_ms == 0 and horizon_ms <= AHEAD_MAX * nice_ms:
            return nice_ms // step_ms
    return -(-horizon_ms // (AHEAD_MAX * step_ms))


def averaged(values: F64, factor: int) -> F64:
    """Means of `factor` columns each, counted from the end, at most HISTORY_MAX; gaps are left out.

    NaN where all are gaps: NaN, or beyond MAGNITUDE_MAX. A row at a time: a block is large.
    """
    steps = min(values.shape[1] // factor, HISTORY_MAX)
    means = np.empty((len(values), steps))
    for row, samples in enumerate(values[:, values.shape[1] - steps * factor :]):
        usable = samples.reshape(steps, factor)
        present = np.abs(usable) <= MAGNITUDE_MAX
        with np.errstate(invalid="ignore"):
            means[row] = np.where(present, usable, 0.0).sum(axis=1) / present.sum(axis=1)
    return means


def seasons_of(season: str, step_ms: int, steps: int) -> tuple[int, ...]:
    """Lengths in steps of the seasons that the history can show: two cycles, at least 4 steps."""
    lengths_ms: tuple[int, ...] = AUTO_SEASONS_MS
    if season != "auto":
        match = DURATION.fullmatch(season)
        lengths_ms = (int(match[1]) * UNITS_MS[match[2]],) if match else ()
    return tuple(
        length_ms // step_ms
        for length_ms in lengths_ms
        if length_ms % step_ms == 0 and PHASES_MIN <= length_ms // step_ms <= steps // 2
    )


def history_of(block: Block, params: dict[str, Any]) -> History:
    """The block as a history; its horizon is cut to half of the range."""
    horizon_ms = min(params["horizon"], block.values.shape[1] * block.step_ms // 2)
    factor = coarser(block.step_ms, max(horizon_ms, block.step_ms))
    step_ms = block.step_ms * factor
    ahead = max(horizon_ms // step_ms, 1)
    values = averaged(block.values, factor)
    steps = values.shape[1]
    present = ~np.isnan(values)
    counts = present.sum(axis=1)
    begins = np.where(counts > 0, present.argmax(axis=1), steps)
    silent = np.where(counts > 0, present[:, ::-1].argmax(axis=1), steps)
    notes: list[str | None] = [None] * len(values)
    for row in np.flatnonzero((counts < SAMPLES_MIN) | (steps - begins < 2 * ahead)):
        notes[row] = (
            f"a history too short: {counts[row]} steps with samples; "
            f"a forecast needs {SAMPLES_MIN}, and twice the horizon ({2 * ahead} steps)"
        )
    for row in np.flatnonzero((counts >= SAMPLES_MIN) & (silent > max(ahead, 2))):
        notes[row] = "no sample within one horizon of the end"
    first = np.take_along_axis(values, np.minimum(begins, steps - 1)[:, None], axis=1)
    offsets = np.nan_to_num(first)
    last, held = steps - ahead, held_out(ahead, steps)
    middles = np.minimum(begins + (steps - begins) // 2, max(steps - held, 1))
    shares = np.linspace(0.0, 1.0, ORIGINS - HELD_OUT_ORIGINS, endpoint=False)
    early = middles[:, None] + (shares * np.maximum(steps - held - middles, 0)[:, None]).astype(int)
    late = np.linspace(max(steps - held, 1), max(last, 1), HELD_OUT_ORIGINS).astype(np.int64)
    origins = np.concatenate(
        [early, np.broadcast_to(np.append(late, steps), (len(values), HELD_OUT_ORIGINS + 1))],
        axis=1,
    )
    return History(
        values=np.subtract(values, offsets, out=values),
        offsets=offsets,
        step_ms=step_ms,
        end_ms=block.start_ms + (block.values.shape[1] - 1) * block.step_ms,
        ahead=ahead,
        begins=begins.astype(np.int64),
        origins=np.ascontiguousarray(origins.astype(np.int64)),
        seasons=seasons_of(params["season"], step_ms, steps),
        notes=notes,
    )
