"""Outliers in a group: series that stay far from the median of their siblings.

    prepare: each group ─▶ median a step, and its usual spread above and below it (fifths)
    run:     each series ─▶ distances in spreads ─▶ stretches in which most steps are away

The spread is that of ranks, on each side by itself: neither an outlier nor a skewed group widens
it. A single far step is no outlier; a series is one that stays away.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis_processing.analyses.block import F64, Block, Part, SeriesResult
from analysis_processing.analyses.robust import bounded, clock, move, quantiles, shown
from analysis_processing.model import Finding, Labels

MEMBERS_MIN = 5
STRETCH_MIN = 4  # steps
MOST = 0.75  # of the steps of a stretch are away
SPREADS = 16  # stretches of the range, each with its usual spread: quiet nights, wide days
JITTER = 1e-9  # of the median
SCORE_MAX = 1000.0
SLICE_STEPS = 512  # scratch of a group stays small
FIFTH_TO_SIGMA = 0.8416
SMALL_GROUP = 6.0  # in a group of so many, twice as far is as far
LISTED_MAX = 50

Key = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A group of series, in quarters of its values. median: (time,).

    spreads: (2, SPREADS), usual deviations below and above the median in each stretch of time.
    """

    members: int
    median: F64
    spreads: F64


def key_of(labels: Labels, by: list[str]) -> Key:
    """What a series shares with its siblings."""
    return tuple(labels.get(name) for name in by)


def prepare(block: Block, params: dict[str, Any]) -> dict[Key, Group]:
    """The groups that are large enough to be compared with."""
    rows = defaultdict(list)
    for row, labels in enumerate(block.labels):
        rows[key_of(labels, params["by"])].append(row)
    return {
        key: group_of(block.values, members)
        for key, members in rows.items()
        if len(members) >= MEMBERS_MIN
    }


def group_of(values: F64, members: list[int]) -> Group:
    """The group's median a step and its spreads; steps with too few members have no median."""
    steps = values.shape[1]
    marks = np.empty((4, steps))
    for first in range(0, steps, SLICE_STEPS):
        inside = bounded(values[members, first : first + SLICE_STEPS].T)
        part = quantiles(inside, 0.2, 0.5 - 1e-9, 0.5 + 1e-9, 0.8)
        part[:, np.count_nonzero(~np.isnan(inside), axis=1) < MEMBERS_MIN] = np.nan
        marks[:, first : first + SLICE_STEPS] = part
    low, left, right, high = marks
    median = (left + right) / 2.0
    sides = np.stack((median - low, high - median)) / FIFTH_TO_SIGMA
    stretch = np.arange(steps) * SPREADS // steps
    spreads = [
        quantiles(sides[:, stretch == index], 0.5)[0]
        if (stretch == index).any()
        else np.full(2, np.nan)
        for index in range(SPREADS)
    ]
    return Group(len(members), median, np.stack(spreads, axis=1))


def run(block: Block, params: dict[str, Any], context: dict[Key, Group]) -> Part:
    """Each series with the median of its group as `expected`; a finding a stretch away from it."""
    results = []
    for row, labels in enumerate(block.labels):
        group = context.get(key_of(labels, params["by"]))
        if group is None:
            note = f"its group has fewer than {MEMBERS_MIN} series"
            results.append(SeriesResult(labels, note=note))
        else:
            results.append(of_series(block, row, group, params))
    return Part(block.start_ms, block.step_ms, block.values.shape[1], results)


def of_series(block: Block, row: int, group: Group, params: dict[str, Any]) -> SeriesResult:
    """One series beside its group."""
    labels, values = block.labels[row], block.values[row]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        apart = bounded(values) - group.median
        below, above = group.spreads[:, np.arange(values.size) * SPREADS // values.size]
        # A group that agrees on one side entirely takes the other side's spread.
        sides = (np.where(below > 0, below, above), np.where(above > 0, above, below))
        spreads = np.where(apart < 0, *sides)
        spreads = np.maximum(spreads, JITTER * np.abs(group.median))
        distances = np.abs(apart) / spreads / (1.0 + (SMALL_GROUP / group.members) ** 2)
    distances[apart == 0] = 0.0
    steps = np.flatnonzero(~np.isnan(distances))
    if steps.size < STRETCH_MIN:
        note = f"fewer than {STRETCH_MIN} steps beside its group"
        return SeriesResult(labels, note=note)
    distances = np.minimum(distances[steps], SCORE_MAX)
    width = max(STRETCH_MIN, round(params["share"] * steps.size))
    width = min(width, steps.size)
    away = distances >= params["deviations"]
    findings = [
        finding_of(block, row, group, steps[first:last], distances[first:last])
        for first, last in stretches(away, width)
    ]
    # The distance kept for `width` steps, most of the time: what a stretch is made of.
    usual = float(np.quantile(distances, max(1.0 - MOST * width / steps.size, 0.0), method="lower"))
    with np.errstate(over="ignore"):
        expected = 4.0 * group.median
    return SeriesResult(
        labels,
        score=round(max([usual, *(one.size for one in findings)]), 3),
        facts={"away_share": round(float(away.mean()), 4), "group_series": group.members}
        | {name: labels.get(name) for name in params["by"]},
        findings=findings,
        columns={"values": values, "expected": expected},
    )


def stretches(away: "np.ndarray[Any, np.dtype[np.bool_]]", width: int) -> list[tuple[int, int]]:
    """[first, last) of the stretches in which most of every `width` steps are away."""
    running = np.concatenate(([0], np.cumsum(away)))
    most = np.flatnonzero(running[width:] - running[:-width] >= MOST * width)
    if not most.size:
        return []
    breaks = np.flatnonzero(np.diff(most) > width)
    firsts, lasts = most[np.append(0, breaks + 1)], most[np.append(breaks, -1)] + width
    inside = [
        first + np.flatnonzero(away[first:last]) for first, last in zip(firsts, lasts, strict=True)
    ]
    return [(int(one[0]), int(one[-1]) + 1) for one in inside]


def finding_of(
    block: Block, row: int, group: Group, steps: "np.ndarray[Any, Any]", distances: F64
) -> Finding:
    """One stretch; open when it lasts to the series' end. steps: its columns."""
    values = block.values[row]
    value = float(quantiles(values[None, steps], 0.5)[0, 0])
    median = 4.0 * float(np.median(group.median[steps]))
    start_ms, end_ms, peak_ms = (
        block.start_ms + int(step) * block.step_ms
        for step in (steps[0], steps[-1], steps[np.argmax(distances)])
    )
    text = (
        f"{'above' if value > median else 'below'} its {group.members - 1} siblings since "
        f"{clock(start_ms)}: {shown(value)} where they have {shown(median)}"
    )
    lasts = bool(np.isnan(values[steps[-1] + 1 :]).all())
    times_ms = (start_ms, None if lasts else end_ms)
    size = float(np.median(distances))
    return move("outlier", times_ms, size, (median, value), text, peak_ms=peak_ms)


def conclude(
    results: list[SeriesResult], params: dict[str, Any], context: dict[Key, Group]
) -> dict[str, Any]:
    """How many of each group depart, the groups with most outliers first."""
    outliers: dict[Key, list[SeriesResult]] = {key: [] for key in context}
    for result in results:
        if result.findings:
            outliers[key_of(result.labels, params["by"])].append(result)
    groups = sorted(outliers, key=lambda key: (-len(outliers[key]), str(key)))
    total = sum(len(members) for members in outliers.values())
    compared = sum(group.members for group in context.values())
    return {
        "sentence": f"of {compared:,} series in {len(context):,} groups {total:,} depart from "
        "their siblings",
        "outliers": total,
        "groups": [
            {
                "labels": dict(zip(params["by"], key, strict=True)),
                "series": context[key].members,
                "outliers": len(outliers[key]),
                "worst": max(outliers[key], key=lambda one: one.score).labels
                if outliers[key]
                else None,
            }
            for key in groups[:LISTED_MAX]
        ],
    }
