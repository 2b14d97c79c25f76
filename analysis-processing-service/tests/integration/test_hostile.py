"""What data a query may return, through the runner, for every kind: no job ends by surprise.

Irregular and descending times cannot occur: a block has one axis, made of start and step, and an
answer on any other is refused (test_clients).
"""

import json
import math

import pytest
from job_world import STEP_MS, STEPS, World

from analysis_processing.analyses import ANALYSES
from analysis_processing.model import State

KINDS = list(ANALYSES)
FUNCTION = "def run(frame, params):\n    return frame.assign(total=frame.sum(axis=1))"
SAMPLES = {
    "huge": lambda i, n: (-1.0) ** (i + n) * 1e308,
    "tiny": lambda i, n: (-1.0) ** (i + n) * 5e-324,
    "constant": lambda _i, _n: 7.0,
    "zero": lambda _i, _n: 0.0,
    "one sample": lambda i, n: 1.0 + n if i == STEPS // 2 else None,
    "all NaN": lambda _i, _n: math.nan,
    "infinite": lambda i, n: (math.inf, -math.inf)[(i + n) % 2],
    "infinite at times": lambda i, n: float((i * 7 + n) % 5) if i % 9 else math.inf,
    "gaps and steps": lambda i, n: None if i % 3 == n % 3 else float(i > 25) * 1e9,
}


@pytest.fixture
def world(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("APS_OWN_ANALYSES", str(tmp_path))
    (tmp_path / "mine.py").write_text(FUNCTION)
    return World(engine)


def run(world, kind):
    """How the job stands; what it ended with is a result or words for people."""
    given = {"target": json.dumps(world.fakes.series[0][0])} if world.fakes.series else {}
    world.submit(kind, **(given or {"target": "up"} if kind == "correlation" else {}))
    job = world.run()
    assert job.state in {State.SUCCEEDED, State.FAILED}
    assert "unexpected" not in (job.error or "")
    notes = " ".join(one["note"] for one in job.summary.get("notes", []))
    assert "could not be judged" not in notes, notes
    if job.state is State.SUCCEEDED:
        json.dumps(job.summary, allow_nan=False)
        assert job.summary["series"] >= len(world.fakes.series)
    return job


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", SAMPLES)
def test_samples_of_any_kind(world, kind, case):
    """A result, or an error that says what does not fit; no series is lost on the way."""
    at = SAMPLES[case]
    world.fakes.series = [
        ({"__name__": "x", "n": str(n)}, lambda ms, n=n: at(ms // STEP_MS, n)) for n in range(7)
    ]
    for world.steps in (2, STEPS, 2_000):
        run(world, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_of_any_shape(world, kind):
    """Nothing; a scalar, which has no labels; labels of any text."""
    texts = ("", "a\0b", '"\\{}=,', "\U0001f600" * 50, "0" * 2_000)
    for series in (
        [],
        [({}, lambda ms: float(ms % 7))],
        [({text or "n": text, "n": str(n)}, float) for n, text in enumerate(texts)],
    ):
        world.fakes.series = series
        job = run(world, kind)
        assert (job.state is State.FAILED) >= (not series)
        with world.engine.begin() as db:
            db.exec_driver_sql("TRUNCATE analysis.job CASCADE")
