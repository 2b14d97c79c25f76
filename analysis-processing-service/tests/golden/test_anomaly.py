"""What version 4 of anomaly detection says of two recorded series, hour by hour for 60 days.

A change of these answers is a new version: raise `version` in `analyses/anomaly/__init__.py`, since
the version is part of a job's identity and old results must not pass for new ones. To write the new
expectation: `PYTHONPATH=. python tests/golden/test_anomaly.py`.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from analysis_processing.analyses import ANALYSES, resolved_params
from analysis_processing.analyses.anomaly.run import run
from analysis_processing.analyses.block import Block

HERE = Path(__file__).resolve().parent
STEP_MS = 3_600_000
EXPECTED = HERE / "anomaly_expected.json"


def answered() -> dict[str, object]:
    """The analysis of the recorded series with default parameters."""
    lines = (HERE / "anomaly_input.csv").read_text().splitlines()
    names = lines[0].split(",")[1:]
    table = np.array([[float(x or "nan") for x in line.split(",")] for line in lines[1:]])
    block = Block(
        [{"series": name} for name in names],
        int(table[0, 0]),
        STEP_MS,
        np.ascontiguousarray(table[:, 1:].T),
    )
    part = run(block, resolved_params("anomaly", {}, STEP_MS), None)
    return {
        "version": ANALYSES["anomaly"].version,
        "facts": [result.facts for result in part.series],
        "findings": [[asdict(one) for one in result.findings] for result in part.series],
        "every_60th": {
            name: [
                [None if np.isnan(x) else float(x) for x in result.columns[name][::60]]
                for result in part.series
            ]
            for name in ("expected", "score")
        },
    }


def test_version_4():
    """The recorded answer still stands, to rounding."""
    recorded, ours = json.loads(EXPECTED.read_text()), answered()
    assert ours["version"] == recorded["version"]
    assert ours["facts"] == recorded["facts"]
    for mine, theirs in zip(ours["findings"], recorded["findings"], strict=True):
        assert [(one["kind"], one["start_ms"], one["end_ms"]) for one in mine] == [
            (one["kind"], one["start_ms"], one["end_ms"]) for one in theirs
        ]
        assert [one["size"] for one in mine] == pytest.approx(
            [one["size"] for one in theirs], rel=1e-3, abs=2e-3
        )
    for name, rows in recorded["every_60th"].items():
        for mine, theirs in zip(ours["every_60th"][name], rows, strict=True):
            np.testing.assert_allclose(
                np.array(mine, dtype=float), np.array(theirs, dtype=float), rtol=1e-3, atol=2e-3
            )


if __name__ == "__main__":
    EXPECTED.write_text(json.dumps(answered(), indent=1) + "\n")
