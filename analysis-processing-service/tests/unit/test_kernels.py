"""Kernels against slow obvious Python, compiled and plain."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import genpareto

from analysis_processing.kernels.residuals import median_of, push, rank_of, robust_sigma
from analysis_processing.kernels.tails import SHAPE, SHARE, START, TAIL_FIELDS, learn_tail, limit_of

numbers = st.floats(0, 1e9, width=32)


@given(arrivals=st.lists(numbers, max_size=60), size=st.integers(1, 12))
def test_window_is_the_last_numbers_sorted(arrivals, size):
    """The ranked window is what sorting the last `size` arrivals gives."""
    ring, ranked = np.zeros((2, size), dtype=np.float32)
    filled = cursor = 0
    for i, number in enumerate(arrivals):
        push(ring, ranked, filled, cursor, number)
        filled, cursor = min(filled + 1, size), (cursor + 1) % size
        assert ranked[:filled].tolist() == sorted(arrivals[max(0, i + 1 - size) : i + 1])


@given(ranked=st.lists(numbers, max_size=30).map(sorted), wanted=numbers)
def test_rank(ranked, wanted):
    """The rank is the number of smaller ones, as numpy's searchsorted has it."""
    numbers = np.array(ranked, dtype=np.float32)
    assert rank_of(numbers, numbers.size, wanted) == np.searchsorted(numbers, wanted)


@given(values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=12))
def test_median(values):
    """The small median is numpy's, to rounding."""
    assert median_of(np.array(values), len(values)) == pytest.approx(np.median(values))


def test_robust_sigma_of_normal_noise():
    """Of normal residuals it is their standard deviation, within a tenth."""
    residuals = np.sort(np.abs(np.random.default_rng(1).normal(0, 3, 256))).astype(np.float32)
    assert robust_sigma(residuals, 256) == pytest.approx(3, rel=0.15)
    assert robust_sigma(residuals, 0) == 0


@pytest.mark.parametrize("shape", [-0.09, 0.0, 0.3, 0.6])
def test_tail_is_learned(shape):
    """Of a generalized Pareto tail the limit is the score of the wanted rate, within its error."""
    rng = np.random.default_rng(2)
    beyond = rng.random(20_000) < 0.05
    fractions = rng.random(20_000)
    scores = np.where(beyond, START + genpareto.ppf(fractions, shape, scale=0.6), 0.0)
    tail = np.zeros(TAIL_FIELDS)
    for score in scores:
        learn_tail(tail, score, 60.0)
    assert tail[SHAPE] == pytest.approx(shape, abs=0.15)
    assert tail[SHARE] == pytest.approx(0.05, rel=0.1)
    wanted = START + genpareto.ppf(1 - 1e-4 / 0.05, shape, scale=0.6)
    assert 0.75 * wanted < limit_of(tail, 1e-4, 20_000.0) < 2.0 * wanted


def test_plain_python_agrees():
    """With NUMBA_DISABLE_JIT=1 the same source gives the same judgement."""
    code = (
        "import numpy as np, json\n"
        "from analysis_processing.analyses import resolved_params\n"
        "from analysis_processing.analyses.anomaly.run import Detector\n"
        "params = resolved_params('anomaly', {'warm_up': 16, 'season': '1h'}, 300000)\n"
        "block = np.random.default_rng(9).normal(size=(1, 130)).round(2)\n"
        "block[0, 50:60] = np.nan; block[0, 110] = 400\n"
        "judged = Detector(1, params, 300000).advance(block, 7)\n"
        "print(json.dumps(np.nan_to_num(judged.score).tolist()))"
    )
    service = Path(__file__).resolve().parents[2]
    answers = []
    for disable in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=service,
            env={**os.environ, "NUMBA_DISABLE_JIT": disable},
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(json.loads(done.stdout))
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-5, atol=1e-6)
