"""Anomaly detection: what a series did that its own past did not lead one to expect.

    block (series × time) ─▶ Detector.advance ─▶ expected, scale, score ─▶ episodes ─▶ anomalies

Causal: the judgement of a sample depends on that sample and earlier ones, so a prefix is judged as
it will be for ever, in whatever pieces it arrives and across saved and loaded states. The threshold
(sensitivity) only reads the scores; it never changes them.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis_processing.analyses.block import Block, Part, SeriesResult, Written
from analysis_processing.analyses.parameters import season_steps
from analysis_processing.errors import IsCounter
from analysis_processing.frames import labels_of, series_name, to_frame
from analysis_processing.kernels import baseline
from analysis_processing.model import Anomaly, Finding

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AnomalyParams:
    """The parameters as computed with. threshold: scores; seasons, warm_up, refractory: steps."""

    threshold: float
    seasons: tuple[int, ...]
    direction: str
    warm_up: int
    refractory: int

    @classmethod
    def from_json(cls, params: Mapping[str, Any], step_ms: int) -> "AnomalyParams":
        """From the resolved parameters of a job."""
        return cls(
            threshold=threshold_of(params["sensitivity"]),
            seasons=season_steps(params["season"], step_ms),
            direction=params["direction"],
            warm_up=params["warm_up"],
            refractory=params["refractory"],
        )


def threshold_of(sensitivity: float) -> float:
    """The score at which an alarm starts: 9 at sensitivity 0, 6 at a half, 3 at 1."""
    return 9.0 - 6.0 * sensitivity


@dataclass(frozen=True, slots=True)
class Judgement:
    """What each sample was expected to be; all of shape (series, time), NaN where not judged.

    scores are signed distances from `expected` in `scales`, positive above it.
    """

    expected: F64
    scales: F64
    scores: F64


class Detector:
    """Everything known about a set of series so far; advances through time, never back.

    state: (series, width), see `kernels.baseline`.
    """

    FORMAT = 2

    def __init__(self, series: int, seasons: tuple[int, ...], warm_up: int) -> None:
        self.warm_up = warm_up
        self.seasons = seasons
        width = baseline.state_width(len(seasons) + 1, max(sum(seasons), 1))
        self.state: F64 = np.zeros((series, width))

    def advance(self, values: F64, first_step: int) -> Judgement:
        """The judgement of the next samples; the state has moved past them.

        values: (series, time), NaN = no sample; column i is at `(first_step + i) × step` since
        the epoch. Releases the GIL while it computes.
        """
        block = np.ascontiguousarray(values, dtype=np.float64)
        assert block.shape[0] == self.state.shape[0]
        judgement = np.empty((3, *block.shape))
        periods = np.array([0, *self.seasons], dtype=np.int64)
        first_phases = np.cumsum(periods) - periods
        baseline.advance(
            block, first_step, periods, first_phases, self.warm_up, self.state, judgement
        )
        return Judgement(*judgement)

    def save(self) -> bytes:
        """The whole state as an `.npz` archive of plain arrays."""
        out = io.BytesIO()
        np.savez_compressed(
            out,
            format=np.array(self.FORMAT),
            warm_up=np.array(self.warm_up),
            seasons=np.array(self.seasons, dtype=np.int64),
            state=self.state,
        )
        return out.getvalue()

    @classmethod
    def load(cls, saved: bytes) -> "Detector":
        """The detector that `save` wrote; raises ValueError for another format."""
        with np.load(io.BytesIO(saved), allow_pickle=False) as archive:
            if int(archive["format"]) != cls.FORMAT:
                raise ValueError(
                    f"detector state of format {int(archive['format'])}, not {cls.FORMAT}"
                )
            state: F64 = archive["state"]
            seasons = tuple(archive["seasons"].tolist())
            detector = cls(state.shape[0], seasons, int(archive["warm_up"]))
        detector.state[:] = state
        return detector


def directed(scores: F64, direction: str) -> F64:
    """How unusual each sample is on the side that matters: never negative; NaN stays NaN."""
    match direction:
        case "up":
            return np.maximum(scores, 0.0)
        case "down":
            return np.maximum(-scores, 0.0)
        case _:
            return np.abs(scores)


def episodes(unusual: F64, threshold: float, refractory: int) -> list[tuple[int, int, int]]:
    """(first, last, peak) indexes of each episode in one series; one alarm each.

    unusual: (time,) from `directed`. Exceedances at most `refractory` steps apart are one episode:
    one that lasts is one alarm, not a thousand rows. A later sample may lengthen the last episode,
    never move its start.
    """
    over = np.flatnonzero(unusual >= threshold)
    if over.size == 0:
        return []
    breaks = np.flatnonzero(np.diff(over) > refractory + 1)
    firsts = over[np.concatenate(([0], breaks + 1))]
    lasts = over[np.concatenate((breaks, [over.size - 1]))]
    episodes = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        peak = first + int(np.nanargmax(unusual[first : last + 1]))
        episodes.append((first, last, peak))
    return episodes


def anomalies(
    values: F64, expected: F64, scores: F64, times_ms: I64, params: AnomalyParams
) -> list[Anomaly]:
    """The episodes of one series, in time order, as people read them. All of shape (time,)."""
    unusual = directed(scores, params.direction)
    return [
        Anomaly(
            start_ms=int(times_ms[first]),
            end_ms=int(times_ms[last]),
            peak_ms=int(times_ms[peak]),
            peak_score=round(float(unusual[peak]), 3),
            peak_value=float(values[peak]),
            expected=float(expected[peak]),
            direction="up" if scores[peak] > 0 else "down",
        )
        for first, last, peak in episodes(unusual, params.threshold, params.refractory)
    ]


COUNTER_SUFFIXES = ("_total", "_count", "_sum", "_bucket")


def looks_like_counter(name: str | None, values: F64) -> bool:
    """Whether a raw counter was asked for: named as one, growing, and falling only to restart.

    A function such as rate() removes the name, so a series that still has one is not a rate.
    """
    if name is None or not name.endswith(COUNTER_SUFFIXES):
        return False
    seen = values[np.isfinite(values)]
    if seen.size < 2 or (seen < 0).any():
        return False
    moves = np.diff(seen)
    falls = moves < 0
    restarts = seen[1:][falls] <= 0.5 * seen[:-1][falls]
    return bool((moves > 0).any() and restarts.all())


@dataclass(frozen=True, slots=True)
class Result:
    """What was found in a frame. Blocks are (series, time), NaN = nothing.

    names: the frame's columns. score is never negative: the side that does not matter counts 0.
    """

    names: list[str]
    times_ms: I64
    observed: F64
    expected: F64
    lower: F64
    upper: F64
    score: F64
    anomalies: list[list[Anomaly]]


def to_block(frame: pd.DataFrame) -> tuple[F64, I64]:
    """(series, time) float64, C order, infinities as NaN; and the timestamps in ms."""
    block = np.array(frame.to_numpy(dtype=np.float64).T, order="C")
    block[~np.isfinite(block)] = np.nan
    index = frame.index
    assert isinstance(index, pd.DatetimeIndex)
    times: I64 = index.tz_convert(None).to_numpy(dtype="datetime64[ms]").astype(np.int64)
    return block, times


def run(block: Block, params: dict[str, Any], context: Any) -> Part:
    """The block judged by `run_frame`."""
    names = [series_name(one) for one in block.labels]
    frame = to_frame(block.values, names, block.start_ms, block.step_ms)
    result = run_frame(frame, AnomalyParams.from_json(params, block.step_ms))
    blocks = (result.observed, result.expected, result.lower, result.upper, result.score)
    named = dict(zip(("values", "expected", "lower", "upper", "score"), blocks, strict=True))
    series = [
        SeriesResult(
            labels,
            score=float(np.nan_to_num(result.score[row]).max()),
            findings=[finding(one) for one in result.anomalies[row]],
            columns={name: values[row] for name, values in named.items()},
        )
        for row, labels in enumerate(block.labels)
    ]
    return Part(block.start_ms, block.step_ms, block.values.shape[1], series)


def finding(one: Anomaly) -> Finding:
    """An anomaly as a finding."""
    return Finding(
        kind="spike",
        start_ms=one.start_ms,
        end_ms=one.end_ms,
        peak_ms=one.peak_ms,
        size=one.peak_score,
        value=one.peak_value,
        expected=one.expected,
        lower=None,
        upper=None,
        direction=one.direction,
        text=f"{one.peak_value:g} where {one.expected:g} was expected",
    )


def written(part: Part, params: dict[str, Any]) -> list[Written]:
    """The score of each series, and 1 where an alarm begins."""
    times_ms = part.start_ms + part.step_ms * np.arange(part.steps, dtype=np.int64)
    series = []
    for one in part.series:
        labels = {name: text for name, text in one.labels.items() if name != "__name__"}
        if "__name__" in one.labels:
            labels["source_metric"] = one.labels["__name__"]
        starts = np.array([found.start_ms for found in one.findings], dtype=np.int64)
        alarm = labels | {"__name__": "cloudopshub_anomaly_alarm"}
        series.append(Written(alarm, starts, np.ones(starts.size)))
        if one.columns:
            score = labels | {"__name__": "cloudopshub_anomaly_score"}
            series.append(Written(score, times_ms, one.columns["score"]))
    return series


def run_frame(frame: pd.DataFrame, params: AnomalyParams) -> Result:
    """Every series of the frame judged from its first sample to its last.

    The index must be evenly spaced and ascending. Raises IsCounter for a raw counter.
    """
    values, times_ms = to_block(frame)
    names = [str(name) for name in frame.columns]
    for row, name in enumerate(names):
        metric = labels_of(name).get("__name__")
        if looks_like_counter(metric, values[row]):
            raise IsCounter(metric=metric, try_instead=f"rate({metric}[5m])")
    step_ms = int(times_ms[1] - times_ms[0]) if times_ms.size > 1 else 1
    detector = Detector(values.shape[0], params.seasons, params.warm_up)
    judged = detector.advance(values, int(times_ms[0]) // step_ms)
    reach = params.threshold * judged.scales
    digits = decimals(judged.scales)
    expected = rounded(judged.expected, digits)
    return Result(
        names=names,
        times_ms=times_ms,
        observed=values,
        expected=expected,
        lower=rounded(judged.expected - reach, digits),
        upper=rounded(judged.expected + reach, digits),
        score=np.round(directed(judged.scores, params.direction), 3),
        anomalies=[
            anomalies(values[row], expected[row], judged.scores[row], times_ms, params)
            for row in range(values.shape[0])
        ],
    )


def decimals(scales: F64) -> F64:
    """How many decimals say all there is to say about a value that scatters by `scales`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = 3.0 - np.floor(np.log10(scales))
    return np.clip(np.nan_to_num(wanted, nan=6.0, posinf=12.0, neginf=0.0), 0.0, 12.0)


def rounded(numbers: F64, digits: F64) -> F64:
    """The numbers to that many decimals; those too large to be scaled exactly stay as they are."""
    scale = 10.0**digits
    scaled = numbers * scale
    exact: F64 = np.where(np.abs(scaled) < 2.0**52, np.rint(scaled) / scale, numbers)
    return exact
