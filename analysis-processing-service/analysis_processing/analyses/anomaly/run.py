"""Anomaly detection as an analysis: blocks in, results by series out, alarms and scores back.

What finds them is `detector.Detector`; here its judgement becomes what people and clients read.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from analysis_processing.analyses.anomaly.detector import Detector, Episode, Judgement
from analysis_processing.analyses.block import F64, Block, Part, SeriesResult, Written, labels_about
from analysis_processing.model import Finding

__all__ = ["Detector", "Episode", "Judgement", "findings", "run", "written"]

SCORE_METRIC = "cloudopshub_anomaly_score"
ALARM_METRIC = "cloudopshub_anomaly_alarm"


def run(block: Block, params: dict[str, Any], context: Any) -> Part:
    """Every series of the block judged from its first sample to its last. `context` is not used."""
    detector = Detector(len(block.labels), params, block.step_ms)
    first_step = block.start_ms // block.step_ms
    judged = detector.advance(block.values, first_step)
    episodes: list[list[Episode]] = [[] for _ in block.labels]
    for episode in judged.episodes:
        episodes[episode.series].append(episode)
    offset_ms = block.start_ms - first_step * block.step_ms
    series = [
        result_of(
            block, row, params, judged, findings(episodes[row], block.step_ms, offset_ms), facts
        )
        for row, facts in enumerate(detector.facts())
    ]
    return Part(block.start_ms, block.step_ms, block.values.shape[1], series)


def result_of(  # noqa: PLR0917 - what one row of several tables is about
    block: Block,
    row: int,
    params: dict[str, Any],
    judged: Judgement,
    alarms: list[Finding],
    facts: dict[str, Any],
) -> SeriesResult:
    """One series' result."""
    values, labels = block.values[row], block.labels[row]
    samples, needed = int(np.count_nonzero(~np.isnan(values))), params["warm_up"] + 1
    if samples < needed:
        return SeriesResult(labels, note=f"{samples} samples; {needed} are needed to judge one")
    expected, lower, upper = judged.expected[row], judged.lower[row], judged.upper[row]
    digits = decimals(lower, upper)
    return SeriesResult(
        labels,
        score=max((alarm.size for alarm in alarms), default=0.0),
        facts=facts,
        findings=alarms,
        columns={
            "values": values,
            "expected": rounded(expected, digits),
            "lower": rounded(lower, digits),
            "upper": rounded(upper, digits),
            "score": np.round(judged.score[row], 3),
        },
    )


def written(part: Part, params: dict[str, Any]) -> list[Written]:
    """All alarms first, then the scores: whoever bounds what goes back cuts from the end.

    An alarm is a series with the label `anomaly_kind`: 1 while an episode lasts, 0 once after it.
    """
    times_ms = part.start_ms + part.step_ms * np.arange(part.steps, dtype=np.int64)
    alarms, scores = [], []
    for result in part.series:
        for kind in sorted({finding.kind for finding in result.findings}):
            spans = [
                (one.start_ms, math.inf if one.end_ms is None else one.end_ms)
                for one in result.findings
                if one.kind == kind
            ]
            alarm = np.full(part.steps, np.nan)
            for _, end_ms in spans:
                alarm[times_ms == end_ms + part.step_ms] = 0.0
            for start_ms, end_ms in spans:
                alarm[(times_ms >= start_ms) & (times_ms <= end_ms)] = 1.0
            labels = labels_about(result.labels, ALARM_METRIC, anomaly_kind=kind)
            alarms.append(Written(labels, times_ms, alarm))
        if params["write_back"] and "score" in result.columns:
            labels = labels_about(result.labels, SCORE_METRIC)
            scores.append(Written(labels, times_ms, result.columns["score"]))
    return alarms + scores


def findings(episodes: Iterable[Episode], step_ms: int, offset_ms: int = 0) -> list[Finding]:
    """The episodes as people read them; `end_ms` is None while one lasts.

    offset_ms: what the grid's times are beyond whole steps since the epoch.
    """
    return [
        Finding(
            kind=one.kind,
            start_ms=one.start_step * step_ms + offset_ms,
            end_ms=one.end_step * step_ms + offset_ms if one.closed else None,
            peak_ms=one.peak_step * step_ms + offset_ms,
            size=round(one.size, 3),
            value=finite(one.value),
            expected=finite(one.expected),
            lower=finite(one.lower),
            upper=finite(one.upper),
            direction=one.direction,
            text=sentence(one, step_ms),
        )
        for one in episodes
    ]


def finite(number: float) -> float | None:
    """The number, or None for what JSON cannot say."""
    return number if math.isfinite(number) else None


def sentence(one: Episode, step_ms: int) -> str:  # noqa: PLR0911 - one a kind
    """What happened, in words and numbers."""
    shown, usual = f"{one.shown:.5g}", f"{one.usual:.5g}"
    lasted = duration((one.end_step - one.start_step + 1) * step_ms)
    higher = "above" if one.direction == "up" else "below"
    match one.kind:
        case "missing":
            gap = duration(one.shown * step_ms)
            if one.usual == 0:
                return f"0 samples for {gap}; there was no gap before"
            return (
                f"0 samples for {gap}; the longest gap before was {duration(one.usual * step_ms)}"
            )
        case "stuck":
            return (
                f"the same value, {one.value:.5g}, {one.shown:.0f} times in a row ({lasted}); "
                f"the longest such row before was {one.usual:.0f}"
            )
        case "shift":
            return f"the level is {shown} where {usual} is usual at this time"
        case "drift":
            return f"the level has been moving away for {lasted}: {shown} where {usual} is usual"
        case "spread" | "rhythm":
            ratio = float(f"{one.shown / one.usual:.2g}") if one.usual > 0 else math.inf
            what = "from sample to sample" if one.kind == "spread" else "around its own mean"
            return f"it moves {shown} {what} where {usual} is usual: {ratio:g} times as much"
        case _ if not math.isfinite(one.value):
            return f"the value is {one.value:+}"
        case _:
            bound = one.upper if one.direction == "up" else one.lower
            return f"{one.value:.5g} is {higher} {bound:.5g}, the limit, where {usual} was expected"


def duration(span_ms: float) -> str:
    """A length of time as one says it: 45 s, 60 min, 6.5 h, 3 days."""
    for unit_ms, unit, most in ((1000, "s", 120), (60_000, "min", 180), (3_600_000, "h", 72)):
        if span_ms < most * unit_ms:
            return f"{round(span_ms / unit_ms, 1):g} {unit}"
    return f"{round(span_ms / 86_400_000, 1):g} days"


def decimals(lower: F64, upper: F64) -> F64:
    """How many decimals say all there is to say about a value within these limits."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        wanted = 4.0 - np.floor(np.log10(upper - lower))
    return np.clip(np.nan_to_num(wanted, nan=6.0, posinf=12.0, neginf=0.0), 0.0, 12.0)


def rounded(numbers: F64, digits: F64) -> F64:
    """The numbers to that many decimals; those too large to be scaled exactly stay as they are."""
    scale = 10.0**digits
    with np.errstate(over="ignore"):
        scaled = numbers * scale
    exact: F64 = np.where(np.abs(scaled) < 2.0**52, np.rint(scaled) / scale, numbers)
    return exact
