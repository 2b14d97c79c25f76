"""Correlation: which series have news at the same time as one of them, or shortly before or after.

    samples ─▶ gaps bridged ─▶ minus trend and rhythms ─▶ minus what its last samples foretell (AR)
            ─▶ innovations of the series × innovations of the target, a lag each ─▶ the highest |r|

Raw trends and waves correlate with one another whatever they measure; innovations do not. The
sample size of a correlation is corrected for what memory is left, its chance for the lags tried,
and a bound on false discoveries over all series is found by `prepare`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import erfc

from analysis_processing.analyses.block import F64, I64, Block, Part, SeriesResult
from analysis_processing.analyses.robust import (
    discovery_bound,
    number,
    quantiles,
    short_name,
    span,
    standardised,
)
from analysis_processing.analyses.seasonality.run import (
    NAMED_MS,
    around_mean,
    cells_of,
    fits,
    foretold,
)
from analysis_processing.analyses.selector import selected_labels
from analysis_processing.errors import DoesNotFit
from analysis_processing.model import Labels

SAMPLES_MIN = 32
SLICE_SERIES = 256
REACH = 4.0  # spreads; what is farther from the median counts as so far
NEWS_MAX = 10.0  # deviations; a larger innovation counts as so large
ORDER_MAX = 8  # past samples that foretell the next
RHYTHM_MIN = 0.05  # of the variance; a weaker one is left in
MEMORY_LAGS = 20
LISTED_MAX = 50


@dataclass(frozen=True, slots=True)
class Context:
    """target: (time,) innovations, 0 where there is none; chance_max: of what is a discovery.

    samples: (time,) the target around its median in its own spread, NaN in gaps.
    """

    labels: Labels
    samples: F64
    target: F64
    chance_max: float


def prepare(block: Block, params: dict[str, Any]) -> Context:
    """The target's innovations; raises DoesNotFit when it is not one series with enough samples."""
    wanted = labels_of(params["target"])
    rows = [
        row
        for row, labels in enumerate(block.labels)
        if all(labels.get(name) == value for name, value in wanted.items())
    ]
    if len(rows) != 1:
        raise DoesNotFit(
            detail=f"target {params['target'][:200]!r} must fit exactly one series of the query; "
            f"it fits {len(rows)} of {len(block.labels)}"
        )
    target, judged = innovations(block.rows(rows[0], rows[0] + 1))
    if not judged[0]:
        raise DoesNotFit(detail=f"target has fewer than {SAMPLES_MIN} samples or is constant")
    chances = [
        related(target[0], part, params["lag_steps"])[2][usable]
        for first in range(0, len(block.labels), SLICE_SERIES)
        for part, usable in [innovations(block.rows(first, first + SLICE_SERIES))]
    ]
    others = np.sort(np.concatenate(chances))[1:]  # the first is the target with itself
    chance_max = discovery_bound(others, params["false_share"])
    samples = standardised(block.values[rows[0], None], REACH)[0]
    return Context(block.labels[rows[0]], samples, target[0], chance_max)


def labels_of(target: str) -> Labels:
    """The labels that a selector or a JSON object names; raises DoesNotFit for anything else."""
    try:
        return selected_labels(target)
    except ValueError as exc:
        raise DoesNotFit(
            detail=f'target is {target[:200]!r}, not a selector such as up{{job="x"}} or JSON'
        ) from exc


def innovations(block: Block) -> tuple[F64, "np.ndarray[Any, np.dtype[np.bool_]]"]:
    """What each sample adds to what was to be expected, in deviations; 0 where there is no sample.

    Second, (series,): whether there is enough of it.
    """
    scaled = standardised(block.values, REACH)
    valid = ~np.isnan(scaled)
    judged = (valid.sum(axis=1) >= SAMPLES_MIN) & (np.ptp(np.nan_to_num(scaled), axis=1) > 0)
    scaled[~judged] = 0.0
    steps = np.arange(scaled.shape[1])
    for row in np.flatnonzero(judged & ~valid.all(axis=1)).tolist():
        present = valid[row]
        scaled[row] = np.interp(steps, steps[present], scaled[row, present])
    scaled = without_trend(without_rhythms(scaled, block))
    order = min(ORDER_MAX, scaled.shape[1] // 10)
    left = scaled - foreseen(scaled, order)
    left -= foreseen(left, order)  # twice: what drifts ever faster is not level after once
    left[~valid] = 0.0
    left[:, : 2 * order] = 0.0
    samples = np.maximum(np.count_nonzero(left, axis=1), 1)
    deviations = np.sqrt((left**2).sum(axis=1) / samples)
    judged &= deviations > 1e-9
    left /= np.where(judged, deviations, 1.0)[:, None]
    return np.where(judged[:, None], np.clip(left, -NEWS_MAX, NEWS_MAX), 0.0), judged


def without_trend(values: F64) -> F64:
    """Each row minus its straight line."""
    times = np.arange(values.shape[1]) - (values.shape[1] - 1) / 2.0
    centred = values - values.mean(axis=1, keepdims=True)
    slopes = centred @ times / max(float(times @ times), 1.0)
    straight: F64 = centred - slopes[:, None] * times
    return straight


def without_rhythms(values: F64, block: Block) -> F64:
    """Each row minus its usual hour, day and week, where such a rhythm foretells it."""
    first_step = block.start_ms // block.step_ms
    at = first_step + np.arange(values.shape[1])
    for period_ms in NAMED_MS:
        period = period_ms // block.step_ms
        if period_ms % block.step_ms or not fits(period, values.shape[1]):
            continue
        rhythmic = np.flatnonzero(foretold(values, first_step, period) > RHYTHM_MIN)
        if rhythmic.size:
            counts, sums = cells_of(around_mean(values[rhythmic], period), first_step, period)
            profiles = sums.sum(axis=1) / np.maximum(counts.sum(axis=1), 1.0)
            phases = profiles.shape[1]
            places = (at % period + 0.5) * phases / period - 0.5
            before = np.floor(places).astype(np.int64)
            near, share = profiles[:, before % phases], places - before
            values[rhythmic] -= near + share * (profiles[:, (before + 1) % phases] - near)
    return values


def foreseen(values: F64, order: int) -> F64:
    """What the `order` samples before each foretell of it, by each row's own autocorrelation."""
    steps = values.shape[1]
    memory = np.stack(
        [
            np.einsum("ij,ij->i", values[:, lag:], values[:, : steps - lag])
            for lag in range(order + 1)
        ],
        axis=1,
    )
    memory[:, 0] = memory[:, 0] * (1.0 + 1e-6) + 1e-12
    apart = np.abs(np.subtract.outer(np.arange(order), np.arange(order)))
    weights = np.linalg.solve(memory[:, apart], memory[:, 1:, None])[:, :, 0]
    guesses = np.zeros_like(values)
    for lag in range(1, order + 1):
        guesses[:, lag:] += weights[:, lag - 1 : lag] * values[:, : steps - lag]
    return guesses


def related(target: F64, others: F64, lag_steps: int) -> tuple[F64, I64, F64]:
    """The highest correlation of each row with the target, its lag, and its chance; (series,) each.

    A positive lag: the row comes before the target. The chance is the tail of a sum of products, by
    the exponent of Bennett's inequality: normal for noise, that of coincidences for rare events.
    """
    steps = target.size
    lags = np.arange(-min(lag_steps, steps - SAMPLES_MIN), min(lag_steps, steps - SAMPLES_MIN) + 1)
    present, squares = (others != 0).astype(np.float64), others**2
    here = (target != 0).astype(np.float64)
    best = np.zeros((3, len(others)))
    for lag in lags.tolist():
        mine = slice(max(-lag, 0), steps - max(lag, 0))
        its = slice(max(lag, 0), steps - max(-lag, 0))
        both = present[:, mine] @ here[its]
        sizes = np.sqrt((squares[:, mine] @ here[its]) * (present[:, mine] @ target[its] ** 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            r = np.where(both >= SAMPLES_MIN, others[:, mine] @ target[its] / sizes, 0.0)
        better = np.abs(np.nan_to_num(r)) > np.abs(best[0])
        best[:, better] = np.stack([r, np.full(len(r), lag), both])[:, better]
    memory = 1.0 + 2.0 * (autocorrelations(others) @ autocorrelations(target[None])[0])
    freedom = best[2] / np.maximum(memory, 1.0)
    lumps = lumpiness(others) * lumpiness(target[None])
    far = lumps * np.abs(best[0])
    exponents = freedom / lumps**2 * ((1.0 + far) * np.log1p(far) - far)
    chances = np.minimum(erfc(np.sqrt(exponents)) * lags.size, 1.0)
    return best[0], best[1].astype(np.int64), chances


def lumpiness(values: F64) -> F64:
    """(series,) third absolute moment of the deviations: 1.6 for noise, large for rare events."""
    samples = np.maximum(np.count_nonzero(values, axis=1), 1)
    deviations = np.maximum(np.sqrt((values**2).sum(axis=1) / samples), 1e-9)
    lumps: F64 = (np.abs(values) ** 3).sum(axis=1) / samples / deviations**3
    return np.maximum(lumps, 1.0)


def autocorrelations(values: F64) -> F64:
    """(series, lags) correlation of each row with itself, from one step on."""
    steps, lags = values.shape[1], range(1, min(MEMORY_LAGS, values.shape[1] - 1) + 1)
    sums = [np.einsum("ij,ij->i", values[:, lag:], values[:, : steps - lag]) for lag in lags]
    power = np.einsum("ij,ij->i", values, values)
    correlations: F64 = np.stack(sums, axis=1) / np.maximum(power, 1e-12)[:, None]
    return correlations


def run(block: Block, params: dict[str, Any], context: Context) -> Part:
    """Each series with its correlation and lag; a discovery with its values, and the target's
    as if it were as high and as widely spread, to be drawn beside them.
    """
    others, judged = innovations(block)
    r, lags, chances = related(context.target, others, params["lag_steps"])
    results = []
    for row, labels in enumerate(block.labels):
        values = {"values": block.values[row]}
        if labels == context.labels:
            results.append(
                SeriesResult(labels, facts={"relation": "is the target"}, columns=values)
            )
        elif not judged[row]:
            note = f"fewer than {SAMPLES_MIN} samples, constant, or all foretold by its past"
            results.append(SeriesResult(labels, note=note))
        else:
            significant = bool(chances[row] <= context.chance_max)
            facts: dict[str, Any] = {
                "correlation": round(float(r[row]), 4),
                "relation": relation_of(int(lags[row]) * block.step_ms),
                "lag_ms": int(lags[row]) * block.step_ms,
                "chance": number(float(chances[row])),
                "significant": significant,
            }
            score = round(abs(float(r[row])), 4)
            if significant:
                low, median, high = quantiles(block.values[row, None], 0.1, 0.5, 0.9)[:, 0]
                with np.errstate(over="ignore", invalid="ignore"):
                    values["target"] = median + (high - low) / 2.563 * context.samples
            results.append(
                SeriesResult(labels, score, facts, columns=values if significant else {})
            )
    return Part(block.start_ms, block.step_ms, block.values.shape[1], results)


def relation_of(lag_ms: int) -> str:
    """Which comes first, and by how much."""
    if lag_ms == 0:
        return "at the same time"
    return f"{'leads' if lag_ms > 0 else 'follows'} by {span(abs(lag_ms))}"


def conclude(
    results: list[SeriesResult], params: dict[str, Any], context: Context
) -> dict[str, Any]:
    """The discoveries, the closest first."""
    related_ones = [result for result in results if result.facts.get("significant")]
    related_ones.sort(key=lambda result: -result.score)
    leading = sum(1 for result in related_ones if result.facts["lag_ms"] > 0)
    return {
        "sentence": f"of {len(results) - 1:,} series {len(related_ones):,} move with "
        f"{short_name(context.labels)}; {leading:,} of them lead it",
        "target": context.labels,
        "related": [
            {"labels": one.labels, "score": one.score} | one.facts
            for one in related_ones[:LISTED_MAX]
        ],
    }
