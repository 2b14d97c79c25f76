"""The laws of what changed between two ranges."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis_processing.analyses.block import Block
from analysis_processing.analyses.changes import CHANGES, run
from analysis_processing.errors import DoesNotFit

STEP_MS = 15_000
STEPS = 240
SPLIT = 120
PARAMS = {parameter.name: parameter.default for parameter in CHANGES.parameters}
hostile = st.one_of(
    st.floats(-1e6, 1e6, width=32),
    st.sampled_from([0.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf")]),
)


def block_of(values, labels=None):
    names = labels or [{"__name__": "load", "series": str(row)} for row in range(len(values))]
    return Block(names, 1_700_000_000_000, STEP_MS, np.ascontiguousarray(values, dtype=np.float64))


def judged(block, params=PARAMS):
    context = run.prepare(block, params)
    results = run.run(block, params, context).series
    return results, run.conclude(results, params, context)


def changed_rows(results):
    return [row for row, result in enumerate(results) if result.findings]


def noise(rows, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, STEPS))


def waves(rows):
    phases = np.random.default_rng(2).random((rows, 1))
    return 20 * np.sin(2 * np.pi * (np.arange(STEPS) / 5760 + phases)) + noise(rows)


QUIET = {
    "noise": noise,
    "walks": lambda rows: np.cumsum(noise(rows), axis=1),
    "lognormal": lambda rows: np.exp(noise(rows)),
    "slopes": lambda rows: np.arange(STEPS) / 10 + noise(rows),
    "waves": waves,
    "rare_events": lambda rows: (noise(rows) > 2.3).astype(float),
    "gaps": lambda rows: np.where(noise(rows, 3) < -0.3, np.nan, noise(rows)),
    "constant": lambda rows: np.full((rows, STEPS), 7.0),
}


@pytest.mark.parametrize("kind", QUIET)
@pytest.mark.parametrize("split", [30, SPLIT, 210])
def test_what_always_wanders_is_not_news(kind, split):
    """Of 1,000 series in which nothing changed hardly one is named, wherever the split is."""
    block = block_of(QUIET[kind](1000))
    split_at = block.start_ms + split * STEP_MS
    results, _ = judged(block, PARAMS | {"split_at": split_at})
    assert len(changed_rows(results)) <= 1


@pytest.mark.parametrize("kind", ["noise", "lognormal", "gaps"])
def test_a_step_of_four_deviations_is_found_where_it_began(kind):
    """Every tenth of 100 series steps up at the split; those are named, with when and by what."""
    values = QUIET[kind](100)
    stepped = range(0, 100, 10)
    values[::10, SPLIT + 2 :] += 4 * np.nanstd(values - np.nanmean(values, axis=1, keepdims=True))
    block = block_of(values)
    results, summary = judged(block)
    rows = set(changed_rows(results))
    assert len(rows & set(stepped)) >= 9
    assert len(rows - set(stepped)) <= 1
    late_ms = [
        results[row].findings[0].start_ms - block.start_ms - (SPLIT + 2) * STEP_MS
        for row in rows & set(stepped)
    ]
    assert np.median(np.abs(late_ms)) <= 2 * STEP_MS
    assert summary["changed"] == len(rows)
    assert summary["sentence"].startswith(f"of 100 series {len(rows)} changed")


def test_one_querys_series_tell_each_others_memory():
    """Means of overlapping windows: 5 deviations stand out where no series of the query walks."""
    samples = np.random.default_rng(6).normal(size=(1000, 480 + 19)) * np.sqrt(20)
    samples[::50, 240 + 19 :] += 5
    sums = np.cumsum(np.pad(samples, ((0, 0), (1, 0))), axis=1)
    results, _ = judged(block_of((sums[:, 20:] - sums[:, :-20]) / 20))
    rows = set(changed_rows(results))
    assert len(rows & set(range(0, 1000, 50))) >= 12
    assert len(rows - set(range(0, 1000, 50))) <= 1


def test_the_spread_alone_can_change():
    """A series that scatters five times as widely has changed, at the same level."""
    values = noise(50)
    values[7, SPLIT:] *= 5
    results, _ = judged(block_of(values))
    assert changed_rows(results) == [7]
    assert results[7].facts["change"] == "spread"
    assert results[7].findings[0].direction == "up"


def test_series_that_come_and_go_are_named_so():
    """A series that is on one side only has appeared or vanished, even with few samples."""
    values = noise(50)
    values[3, :SPLIT] = np.nan
    values[4, SPLIT + 5 :] = np.nan
    values[5, : STEPS - 10] = np.nan
    results, summary = judged(block_of(values))
    assert [results[row].facts["change"] for row in (3, 4, 5)] == [
        "appeared",
        "vanished",
        "appeared",
    ]
    assert changed_rows(results) == [3, 4, 5]
    assert [results[row].findings[0].end_ms for row in (3, 4, 5)] == [None] * 3
    assert "2 appeared" in summary["sentence"]


def test_shared_labels_are_told_once():
    """The zone that the changed series share is named; their pods, which say the same, are not."""
    labels = [
        {
            "__name__": "load",
            "zone": "ab"[row % 2],
            "pod": f"{row % 2}-{row % 8}",
            "series": str(row),
        }
        for row in range(200)
    ]
    values = noise(200)
    values[1::8, SPLIT:] += 9
    values[3::8, SPLIT:] += 9
    _, summary = judged(block_of(values, labels))
    assert [(one["label"], one["value"]) for one in summary["groups"]] == [("zone", "b")]
    assert summary["groups"][0]["changed"] == 50
    assert "50 share `zone=b`" in summary["sentence"]


def test_labels_shared_by_chance_are_not_named():
    """Changed series drawn without regard to their labels have no label in common to name."""
    rng = np.random.default_rng(5)
    labels = [{"zone": str(rng.integers(3)), "pod": str(rng.integers(50))} for _ in range(1000)]
    named = sum(
        bool(
            run.shared_labels(labels, [labels[row] for row in rng.choice(1000, 30, replace=False)])
        )
        for _ in range(50)
    )
    assert named <= 1


def test_what_was_deployed():
    """A deploy two minutes before the others is a candidate cause."""
    labels = [{"__name__": "load", "series": str(row)} for row in range(30)]
    labels[0] = {"__name__": "kube_deployment_metadata_generation", "deployment": "shop"}
    values = noise(30)
    values[0] = 3.0
    values[0, SPLIT:] = 4.0
    values[5:8, SPLIT + 8 :] += 9
    _, summary = judged(block_of(values, labels))
    assert [cause["labels"] for cause in summary["causes"]] == [labels[0]]


@given(cuts=st.sets(st.integers(1, 29), max_size=4), power=st.integers(-40, 40))
def test_chunks_and_scale_change_nothing(cuts, power):
    """Any chunks give the results of the whole, and so do the values times a power of two."""
    values = noise(30)
    values[::7, SPLIT:] += 5
    block = block_of(values)
    context = run.prepare(block, PARAMS)
    whole = run.run(block, PARAMS, context).series
    scaled = replace(block, values=values * 2.0**power)
    chunked = [
        result
        for first, last in pairwise([0, *sorted(cuts), 30])
        for result in run.run(scaled.rows(first, last), PARAMS, context).series
    ]
    assert [one.score for one in chunked] == [one.score for one in whole]
    assert run.prepare(scaled, PARAMS).chance_max == context.chance_max
    assert changed_rows(chunked) == [0, 7, 14, 21, 28]


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(16, 60)), elements=hostile))
def test_any_numbers_are_judged_or_noted(values):
    """Infinities, extremes and gaps: each series has a score or a note, and facts are finite."""
    block = block_of(values)
    results, _ = judged(block)
    for result in results:
        assert result.note or np.isfinite(result.score)
        numbers = [fact for fact in result.facts.values() if isinstance(fact, float)]
        assert np.isfinite(numbers).all()


@pytest.mark.parametrize("split_at", [0, 1_700_000_000_000 + 3 * STEP_MS, 1_800_000_000_000])
def test_a_split_outside_the_range_is_refused(split_at):
    """Both sides need some steps; the refusal says how many there are."""
    with pytest.raises(DoesNotFit, match="split_at needs 8 steps on either side; of 240"):
        run.prepare(block_of(noise(2)), PARAMS | {"split_at": split_at})


def test_too_few_samples_are_noted():
    """A series with a handful of samples is not judged, and says why."""
    values = noise(3)
    values[1, 5:] = np.nan
    results, _ = judged(block_of(values))
    assert results[1].note == "fewer than 8 samples"
