"""Forecasts of a block: the method of each series by its rolling backtest, intervals, time to full.

    block ─▶ history ─▶ seasonal, damped, booster ─▶ least backtest error ─▶ intervals ─▶ full?

At an origin nothing after it is read, so the backtest's errors are those of real forecasts.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis_processing.analyses.block import (
    F64,
    I64,
    Block,
    Part,
    SeriesResult,
    Written,
    labels_about,
)
from analysis_processing.analyses.forecast import baselines, booster, capacity, intervals
from analysis_processing.analyses.forecast.history import HELD_OUT_ORIGINS, History, history_of
from analysis_processing.analyses.parameters import duration_text
from analysis_processing.model import Labels

METRIC = "cloudopshub_forecast"
FULL_METRIC = "cloudopshub_seconds_to_full"
PIECE = 256  # series at once in `prepare`
PIECES_MAX = 8  # on which the booster is tried
TRUST = 3.0  # in all series' word on the booster, against 1 in the series' own
SOONEST_MAX = 20
BOUNDS = ("expected", "lower", "upper")
FULL_FACTS = ("full_in_ms", "full_earliest_ms", "full_latest_ms")


@dataclass(frozen=True, slots=True)
class Context:
    """The job's booster, where there is one, and how it did on the held-out origins of all series.

    model: as text. seasons: of `booster.seasons_of`. advantage: mean log of its error in terms of
    the baseline's. bands: (ahead, 4) quantiles of its errors, in units of a series' baseline error.
    note: why there is none although one was wanted.
    """

    model: str | None = None
    seasons: tuple[int, int] = (0, 0)
    advantage: float = 0.0
    bands: F64 | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The chosen forecast of each series: ahead (series, steps), bands (series, steps, 4)."""

    methods: list[str]
    seasons: I64
    errors: F64
    ahead: F64
    bands: F64


def baseline_of(history: History, future: F64, method: str) -> tuple[list[str], baselines.Paths]:
    """The better of seasonal and damped by series; the other where the wanted one cannot serve."""
    options = [baselines.damped(history, future)]
    if method != "damped":
        options.append(baselines.seasonal(history, future))
    errors = np.stack([paths.errors for paths in options])
    if method == "seasonal":
        errors[0, np.isfinite(errors[1])] = np.inf
    best, series = errors.argmin(axis=0), np.arange(errors.shape[1])
    chosen = baselines.Paths(
        *(
            np.stack([getattr(paths, part) for paths in options])[best, series]
            for part in ("ahead", "seasons", "errors", "late_errors")
        )
    )
    return [("damped", "seasonal")[number] for number in best], chosen


def log_ratios(future: F64, baseline: baselines.Paths, boosted: F64) -> F64:
    """(series,) log of the booster's error over the baseline's on the held-out origins, or NaN."""
    errors = baselines.mean_errors(boosted, future[:, -HELD_OUT_ORIGINS:])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(errors / baseline.late_errors)
    ratios[~np.isfinite(ratios)] = np.nan
    return ratios


def prepare(block: Block, params: dict[str, Any]) -> Context:
    """The booster, trained on all series but their held-out ends and tried on those."""
    if params["method"] not in {"auto", "booster"}:
        return Context()
    history = history_of(block, params)
    if not block.labels or not history.seasons:
        return Context(note="no booster: the history does not show a season twice")
    seasons = booster.seasons_of(history.seasons)
    count, least = booster.usable(history, seasons[0]).size, booster.SERIES_MIN
    if params["method"] == "auto" and count < least:
        return Context(note=f"no booster: {count} series are long enough, it needs {least}")
    if booster.library() is None:
        return Context(note="no booster: LightGBM cannot be loaded (is libgomp installed?)")
    model = booster.train(history, seasons)
    if model is None:
        return Context(note="no booster: too few samples to learn from")
    return tried(block, params, model, seasons)


def tried(block: Block, params: dict[str, Any], model: str, seasons: tuple[int, int]) -> Context:
    """The context of `model`: its held-out errors on all series, or on 2,000 of them."""
    ratios, errors = [], []
    pieces = range(0, len(block.labels), PIECE)
    for first in pieces[:: -(-len(pieces) // PIECES_MAX)]:
        history = history_of(block.rows(first, first + PIECE), params)
        future = history.future()
        _, baseline = baseline_of(history, future, "auto")
        boosted = booster.paths(history, model, seasons)
        of_piece = log_ratios(future, baseline, boosted)
        usable = np.isfinite(of_piece)
        late = future[usable, -HELD_OUT_ORIGINS:] - boosted[usable, :-1]
        ratios.append(of_piece[usable])
        errors.append(late / baseline.errors[usable, None, None])
    advantage = np.concatenate(ratios)
    if advantage.size == 0:
        return Context(note="no booster: there is no series to try it on")
    together = np.concatenate(errors).reshape(1, -1, history.ahead)
    return Context(model, seasons, float(advantage.mean()), intervals.by_step(together)[0])


def forecast(history: History, params: dict[str, Any], context: Context) -> Forecast:
    """The best method's forecast of each series, with the bands that its errors justify.

    The booster serves where its held-out error is the smaller one, by what the series itself says
    and by what all series say: one series' held-out end alone is little evidence.
    """
    future = history.future()
    methods, baseline = baseline_of(history, future, params["method"])
    ahead, errors = baseline.ahead[:, -1].copy(), baseline.errors.copy()
    bands = intervals.own_bands(history, baseline.ahead, future)
    if context.model is not None and context.bands is not None:
        boosted = booster.paths(history, context.model, context.seasons)
        ratios = log_ratios(future, baseline, boosted)
        wanted = np.isfinite(ratios) & (
            (ratios + TRUST * context.advantage < 0) | (params["method"] == "booster")
        )
        for row in np.flatnonzero(wanted):
            methods[row] = "booster"
        ahead[wanted] = boosted[wanted, -1]
        bands[wanted] = context.bands * errors[wanted, None, None]
        errors[wanted] *= np.exp(ratios[wanted])
    return Forecast(methods, baseline.seasons, errors, ahead, bands)


def columns_of(
    chosen: Forecast, row: int, history: History, limits: tuple[float, float]
) -> dict[str, F64]:
    """Expectation and bounds of one series in its own units, inside its limits, in order."""
    expected = chosen.ahead[row] + history.offsets[row]
    columns = {"expected": np.clip(expected, *limits)}
    for number, name in enumerate(intervals.BOUNDS):
        band = chosen.bands[row, :, number]
        band = np.minimum(band, 0.0) if name.startswith("lower") else np.maximum(band, 0.0)
        columns[name] = np.clip(expected + band, *limits)
    return columns


def run(block: Block, params: dict[str, Any], context: Any) -> Part:
    """Forecasts of these series; context: from `prepare`."""
    history = history_of(block, params)
    chosen = forecast(history, params, context or Context())
    naive = baselines.mean_errors(baselines.naive(history, chosen.seasons), history.future())
    part = Part(history.end_ms + history.step_ms, history.step_ms, history.ahead, [])
    for row, labels in enumerate(block.labels):
        note = history.notes[row]
        if note is not None:
            part.series.append(SeriesResult(labels, note=note))
            continue
        values = history.values[row] + history.offsets[row]
        limits = intervals.limits(values, labels.get("__name__", ""), params["full_at"])
        columns = columns_of(chosen, row, history, limits)
        scale = seasonal_move(history.values[row], int(chosen.seasons[row, 0]))
        lengths = chosen.seasons[row].tolist()
        seasons = [duration_text(steps * history.step_ms) for steps in lengths if steps]
        facts: dict[str, Any] = {
            "method": chosen.methods[row],
            "season": "+".join(seasons) or "none",
            "horizon": duration_text(history.ahead * history.step_ms),
            "mase": ratio(chosen.errors[row], scale),
            "mase_naive": ratio(naive[row], scale),
        }
        now = float(values[np.isfinite(values)][-1])
        part.series.append(
            judged(labels, facts=facts, columns=columns, now=now, params=params, axis=part)
        )
    return part


def seasonal_move(values: F64, season: int) -> float:
    """Mean distance of the samples from those a season (or one step) earlier: MASE's unit."""
    lag = max(season, 1)
    moves = np.abs(values[lag:] - values[:-lag])
    moves = moves[np.isfinite(moves)]
    return float(moves.mean()) if moves.size else 0.0


def ratio(error: float, scale: float) -> float | None:
    """To four digits; None where the scale is 0 or either is not finite."""
    with np.errstate(over="ignore"):
        return float(f"{error / scale:.4g}") if scale > 0 and np.isfinite(error / scale) else None


def judged(
    labels: Labels,
    *,
    facts: dict[str, Any],
    columns: dict[str, F64],
    now: float,
    params: dict[str, Any],
    axis: Part,
) -> SeriesResult:
    """The result of one series: ranked by what fills first, or by how far it will move."""
    limit, direction = params["full_at"], params["full_direction"]
    if limit is None:
        width = float(np.mean(columns["upper"] - columns["lower"]))
        score = ratio(abs(float(columns["expected"][-1]) - now), width) or 0.0
        return SeriesResult(labels, score, facts, [], columns)
    horizon_ms, end_ms = axis.steps * axis.step_ms, axis.start_ms - axis.step_ms
    time = capacity.time_to_full(columns, now, limit, direction, axis.step_ms)
    facts |= zip(FULL_FACTS, (time.expected_ms, time.earliest_ms, time.latest_ms), strict=True)
    finding = capacity.finding(
        time,
        columns,
        now=now,
        limit=limit,
        direction=direction,
        end_ms=end_ms,
        horizon_ms=horizon_ms,
    )
    score = capacity.urgency(time, horizon_ms)
    return SeriesResult(labels, score, facts, [finding] if finding else [], columns)


def conclude(results: list[SeriesResult], params: dict[str, Any], context: Any) -> dict[str, Any]:
    """The sentence, how many series each method serves, and what is full soonest."""
    judged_series = [result for result in results if result.note is None]
    methods = Counter(result.facts["method"] for result in judged_series)
    shares = [
        result.facts["mase"] / result.facts["mase_naive"]
        for result in judged_series
        if result.facts["mase"] is not None and result.facts["mase_naive"]
    ]
    served = ", ".join(f"{count} {method}" for method, count in methods.most_common())
    horizon = (
        judged_series[0].facts["horizon"] if judged_series else duration_text(params["horizon"])
    )
    sentence = f"{len(judged_series)} of {len(results)} series are forecast {horizon} ahead"
    sentence += f" ({served})." if served else "."
    if judged_series and duration_text(params["horizon"]) != horizon:
        sentence += " The horizon was cut to half of the range."
    if shares:
        sentence += (
            f" In the backtest the median error is {np.median(shares):.0%} of the naive one."
        )
    if context is not None and context.note:
        sentence += f" {context.note[0].upper()}{context.note[1:]}."
    summary: dict[str, Any] = {"methods": dict(methods)}
    if params["full_at"] is not None and judged_series:
        soonest = sorted(
            (result for result in judged_series if result.findings),
            key=lambda result: -result.score,
        )
        due = sum(result.facts["full_in_ms"] is not None for result in soonest)
        limit = capacity.readable(params["full_at"])
        sentence = (
            f"{due} of {len(judged_series)} series are expected to reach {limit} within {horizon}, "
            f"{len(soonest) - due} more may be. {sentence}"
        )
        summary["soonest"] = [
            {
                "labels": result.labels,
                "full_in_ms": result.facts["full_in_ms"],
                "earliest_ms": result.facts["full_earliest_ms"],
                "latest_ms": result.facts["full_latest_ms"],
                "text": result.findings[0].text,
            }
            for result in soonest[:SOONEST_MAX]
        ]
    return summary | {"sentence": sentence}


def written(part: Part, params: dict[str, Any]) -> list[Written]:
    """At the end of the history, what is expected one horizon later; and the seconds to full.

    data-ingest-service refuses samples of the future, so a forecast is written as PromQL's
    predict_linear tells it: at the time when it was made. The label `bound` is expected, lower or
    upper; of the seconds to full, lower is the earliest.
    """
    if not params["write_back"]:
        return []
    horizon = duration_text(part.steps * part.step_ms)
    at_ms = np.array([part.start_ms - part.step_ms], dtype=np.int64)
    series = []
    for result in part.series:
        if result.note is not None:
            continue
        samples = [(METRIC, bound, result.columns[bound][-1]) for bound in BOUNDS]
        for bound, fact in zip(BOUNDS, FULL_FACTS, strict=True):
            if result.facts.get(fact) is not None:
                samples.append((FULL_METRIC, bound, result.facts[fact] / 1000.0))
        for name, bound, value in samples:
            labels = labels_about(result.labels, name, bound=bound, horizon=horizon)
            series.append(Written(labels, at_ms, np.array([value])))
    return series
