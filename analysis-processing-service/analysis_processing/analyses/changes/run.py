"""What changed between two ranges: which series, where they are alike, what came first, and why.

    block ─▶ three views: level, spread (steps between samples), presence
          ─▶ memory of all series ─▶ shifts ─▶ chance of each score ─▶ bound on false discoveries

How high unchanged series score is seen in the range before the split, cut into halves. `prepare`
scores every series to find the bound; `run` scores its chunk again and names what is beyond it, so
that a series' finding is the same in whatever chunk it stands.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis_processing.analyses.block import F64, Block, Part, SeriesResult
from analysis_processing.analyses.changes.explain import causes, shared_labels
from analysis_processing.analyses.changes.shift import (
    SAMPLES_MIN,
    SCORE_MAX,
    WINDOWS,
    Shifts,
    chance,
    memory_of,
    shifts,
    step_at,
    tail_of,
)
from analysis_processing.analyses.robust import (
    bounded,
    clock,
    discovery_bound,
    move,
    number,
    shown,
    standardised,
)
from analysis_processing.errors import DoesNotFit
from analysis_processing.model import Finding

SLICE_SERIES = 256  # scratch stays within the processor's cache
VIEWS = ("shift", "spread", "gaps")
GROWTHS = (1.0, 0.85, 1.0)  # of the tails of VIEWS: spreads are steadier than levels
PARTS = ("alike", "shares")
LISTED_MAX = 50


@dataclass(frozen=True, slots=True)
class Context:
    """split: the first column of `after`. chance_max: of what is called changed.

    memories, tails: one a view, of `memory_of` and `tail_of`.
    """

    split: int
    memories: list[F64 | None]
    tails: list[F64]
    chance_max: float


def prepare(block: Block, params: dict[str, Any]) -> Context:
    """Where the ranges meet and how much is a change; raises DoesNotFit for a split outside."""
    split = split_column(block, params["split_at"])
    memories, scores = all_scores(block.values, split)
    quiet = (
        all_scores(block.values[:, :split], split // 2)[1]
        if split // 2 >= SAMPLES_MIN
        else scores[:, :0]
    )
    tails = [
        tail_of(before[~np.isnan(before)], of_view[~np.isnan(of_view)], growth)
        for before, of_view, growth in zip(quiet, scores, GROWTHS, strict=True)
    ]
    chances = likely(scores, tails)
    bound = discovery_bound(chances[~np.isnan(chances)], params["false_share"])
    return Context(split, memories, tails, bound)


def all_scores(values: F64, split: int) -> tuple[list[F64 | None], F64]:
    """The memory of all series in each view, and (views, series) scores by it."""
    firsts = range(0, len(values), SLICE_SERIES)
    slices = [values[first : first + SLICE_SERIES] for first in firsts]
    if not slices:
        return [None] * len(VIEWS), np.empty((len(VIEWS), 0))
    alone = [scored(part, split, [None] * len(VIEWS))[1] for part in slices]
    memories = [
        memory_of(*(np.concatenate([getattr(one[view], of) for one in alone]) for of in PARTS))
        for view in range(len(VIEWS))
    ]
    return memories, np.concatenate([scored(part, split, memories)[0] for part in slices], axis=1)


def split_column(block: Block, split_at: int | None) -> int:
    """The first column at or after `split_at` (ms), by default the middle one."""
    steps = block.values.shape[1]
    split = steps // 2 if split_at is None else -((block.start_ms - split_at) // block.step_ms)
    if not SAMPLES_MIN <= split <= steps - SAMPLES_MIN:
        raise DoesNotFit(
            detail=f"split_at needs {SAMPLES_MIN} steps on either side; of {steps} steps "
            f"{min(max(split, 0), steps)} lie before it"
        )
    return split


def views_of(values: F64) -> tuple[F64, F64, F64]:
    """The series as VIEWS see them. Spreads are in quarters, so that no difference overflows."""
    steps = np.abs(np.diff(bounded(values), axis=1, prepend=np.nan))
    return values, steps, (~np.isnan(values)).astype(np.float64)


def likely(scores: F64, tails: list[F64]) -> F64:
    """The chance of the clearest of (views, …) scores in a series that did not change."""
    chances = [chance(of_view, tail) for of_view, tail in zip(scores, tails, strict=True)]
    least: F64 = np.minimum(len(VIEWS) * np.fmin.reduce(chances), 1.0)
    return least


def scored(values: F64, split: int, memories: list[F64 | None]) -> tuple[F64, list[Shifts]]:
    """(views, series) scores, NaN where there are too few samples, and the shifts.

    A series without gaps that is there on one side only has changed, however late it came.
    """
    views = [
        shifts(view, split, memory) for view, memory in zip(views_of(values), memories, strict=True)
    ]
    present = ~np.isnan(values)
    samples = present.sum(axis=1)
    life = present.shape[1] - present.argmax(axis=1) - present[:, ::-1].argmax(axis=1)
    one_sided = present[:, :split].any(axis=1) != present[:, split:].any(axis=1)
    views[2].scores[one_sided & (samples >= 0.5 * life)] = SCORE_MAX
    scores = np.stack([view.scores for view in views])
    return np.where(samples >= SAMPLES_MIN, scores, np.nan), views


def run(block: Block, params: dict[str, Any], context: Context) -> Part:
    """Each series with its levels before and after; what changed has a finding and its values."""
    scores, views = scored(block.values, context.split, context.memories)
    results = [
        SeriesResult(labels, note=f"fewer than {SAMPLES_MIN} samples")
        if np.isnan(scores[:, row]).all()
        else judged(block, row, (scores[:, row], views), context)
        for row, labels in enumerate(block.labels)
    ]
    return Part(block.start_ms, block.step_ms, block.values.shape[1], results)


def judged(
    block: Block, row: int, seen: tuple[F64, list[Shifts]], context: Context
) -> SeriesResult:
    """One series, by the first view that shows a change, or by that where it moved furthest."""
    scores, views = np.nan_to_num(seen[0], nan=0.0), seen[1]
    chances = np.array([chance(*one) for one in zip(scores, context.tails, strict=True)])
    over = len(VIEWS) * chances <= context.chance_max
    index = int(np.argmax(over) if over.any() else np.argmax(scores))
    scale = 4.0 if VIEWS[index] == "spread" else 1.0
    with np.errstate(over="ignore"):
        before, after = scale * views[index].before[row], scale * views[index].after[row]
    facts = {
        "change": VIEWS[index] if over.any() else None,
        "before": number(before),
        "after": number(after),
        "chance": number(min(len(VIEWS) * float(chances.min()), 1.0)),
    }
    score = round(float(scores.max()), 3)
    if not over.any():
        return SeriesResult(block.labels[row], score, facts)
    last = WINDOWS[views[index].windows[row]][1]
    finding = finding_of(block, row, (index, before, after, last), score, context.split)
    facts["change"] = finding.kind
    return SeriesResult(block.labels[row], score, facts, [finding], {"values": block.values[row]})


def finding_of(
    block: Block, row: int, change: tuple[int, float, float, int], score: float, split: int
) -> Finding:
    """The change of one series. change: its view, the levels, and in which eighth it was clear."""
    index, before, after, eighth = change
    steps = block.values.shape[1]
    last = split + round(eighth * (steps - split) / 8)
    view = views_of(block.values[row : row + 1])[index]
    columns = np.flatnonzero(~np.isnan(view[0]))
    columns = columns[(columns >= split // 2) & (columns < last)]
    onset = int(columns[step_at(standardised(view[:, columns], 10.0)[0])])
    kind, verb = VIEWS[index], "rose" if after > before else "fell"
    words = (
        f"{'its spread ' if kind == 'spread' else ''}{verb} from {shown(before)} to {shown(after)}"
    )
    if kind == "gaps":
        words = f"had samples {before:.0%} of the time before, {after:.0%} after"
        if not view[0, :split].any():
            kind, words, onset = "appeared", "appeared", int(view[0].argmax())
        elif not view[0, onset:].any():
            kind, words = "vanished", "vanished"
    start_ms = block.start_ms + onset * block.step_ms
    is_open = last == steps or kind in {"appeared", "vanished"}
    end_ms = None if is_open else block.start_ms + (last - 1) * block.step_ms
    text = f"{words}, since {clock(start_ms)}"
    return move(kind, (start_ms, end_ms), score, (before, after), text)


def conclude(
    results: list[SeriesResult], params: dict[str, Any], context: Context
) -> dict[str, Any]:
    """What changed, ranked; the labels it shares; likely causes."""
    changed = sorted(
        (result for result in results if result.findings),
        key=lambda result: (-result.score, result.findings[0].start_ms),
    )
    groups = shared_labels([result.labels for result in results], [one.labels for one in changed])
    kinds = [one.findings[0].kind for one in changed]
    sentence = f"of {len(results):,} series {len(changed):,} changed"
    if groups:
        sentence += f"; {groups[0]['changed']:,} share `{groups[0]['label']}={groups[0]['value']}`"
    for kind in ("appeared", "vanished"):
        if kind in kinds:
            sentence += f"; {kinds.count(kind):,} {kind}"
    return {
        "sentence": sentence,
        "changed": len(changed),
        "ranked": [
            {"labels": one.labels, "score": one.score, "text": one.findings[0].text}
            for one in changed[:LISTED_MAX]
        ],
        "groups": groups,
        "causes": causes(changed),
    }
