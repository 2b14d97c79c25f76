"""What version 1 of anomaly detection says of two recorded series, hour by hour for 60 days.

A change of these answers is a new version: raise `version` in `analyses/__init__.py`, since the
version is part of a job's identity and old results must not pass for new ones. To write the new
expectation: `python tests/golden/test_anomaly.py`.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis_processing.analyses import ANALYSES, resolved_params
from analysis_processing.analyses.anomaly.run import AnomalyParams, run_frame
from analysis_processing.frames import series_name

HERE = Path(__file__).resolve().parent
STEP_MS = 3_600_000
EXPECTED = HERE / "anomaly_v1_expected.json"


def answered() -> dict[str, object]:
    """The analysis of the recorded series with default parameters."""
    frame = pd.read_csv(HERE / "anomaly_v1_input.csv", index_col="time_ms", dtype=float)
    frame.index = pd.to_datetime(frame.index.astype("int64"), unit="ms", utc=True)
    frame.columns = pd.Index([series_name({"series": name}) for name in frame.columns])
    params = AnomalyParams.from_json(resolved_params("anomaly", {}, STEP_MS), STEP_MS)
    result = run_frame(frame, params)
    sampled = slice(0, None, 60)
    return {
        "version": ANALYSES["anomaly"].version,
        "anomalies": [[asdict(one) for one in found] for found in result.anomalies],
        "every_60th": {
            name: [[None if np.isnan(x) else float(x) for x in row] for row in block[:, sampled]]
            for name, block in (("expected", result.expected), ("score", result.score))
        },
    }


def test_version_1():
    """The recorded answer still stands, to rounding."""
    expected, found = json.loads(EXPECTED.read_text()), answered()
    assert found["version"] == expected["version"]
    for ours, theirs in zip(found["anomalies"], expected["anomalies"], strict=True):
        assert [one | {"expected": 0} for one in ours] == [
            {**one, "expected": 0, "peak_score": pytest.approx(one["peak_score"], abs=2e-3)}
            for one in theirs
        ]
    for name, rows in expected["every_60th"].items():
        for ours, theirs in zip(found["every_60th"][name], rows, strict=True):
            np.testing.assert_allclose(
                np.array(ours, dtype=float), np.array(theirs, dtype=float), rtol=1e-3, atol=2e-3
            )


if __name__ == "__main__":
    EXPECTED.write_text(json.dumps(answered(), indent=1) + "\n")
