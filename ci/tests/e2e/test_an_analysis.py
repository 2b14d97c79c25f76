"""An analysis from question to answer on the running platform, its scores read back as a series."""

import time

import httpx
import pytest
from native_platform import eventually

MINUTE_MS = 60_000
POINTS = 240
KINDS = {
    "forecast": {"horizon": "30m", "full_at": 1000},
    "changes": {},
    "change_points": {},
    "group_outliers": {},
    "seasonality": {},
    "correlation": {"target": 'e2e_analysed{job="e2e"}'},
    "slo": {"measure": "latency", "threshold": 100},
}


@pytest.fixture(scope="module")
def analysed(platform):
    """(query, times in ms) of two series of four hours, and when one of them had an outlier."""
    now_ms = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS
    times = [now_ms - (POINTS - n) * MINUTE_MS for n in range(POINTS)]
    for job, top in (("e2e", 500.0), ("other", 22.0)):
        values = (top if n == 200 else 20.0 + n * 7 % 5 + n % 3 for n in range(POINTS))
        labels = {"__name__": "e2e_analysed", "job": job}
        assert platform.write(labels, list(zip(times, values, strict=True))) == 204
    return "e2e_analysed", times, times[200]


def ended(platform, kind, analysed, **params):
    """The job that asks this, ended, and its whole result."""
    query, times, _ = analysed
    jobs = f"{platform.url}/api/analysis-processing-service/api/v1/jobs"
    headers = {"Authorization": f"Bearer {platform.key}"}
    question = {
        "kind": kind, "query": query, "start_ms": times[0], "end_ms": times[-1],
        "step_ms": MINUTE_MS, "params": params,
    }  # fmt: skip
    submitted = httpx.post(jobs, json=question, headers=headers, timeout=600)
    assert submitted.status_code == 202, submitted.text
    again = httpx.post(jobs, json=question, headers=headers, timeout=600)
    identity = submitted.json()["id"]
    assert (again.status_code, again.json()["id"]) == (200, identity)

    def done():
        job = httpx.get(f"{jobs}/{identity}", headers=headers, timeout=600).json()
        return job if job["state"] not in {"queued", "running"} else None

    job = eventually("the job is done", done)
    assert (job["state"], job["error"]) == ("succeeded", None), job
    result = httpx.get(f"{jobs}/{identity}/result", headers=headers, timeout=600)
    return job, result.json()


def test_an_anomaly_is_found_and_its_score_is_a_series(platform, analysed):
    """One outlier in four quiet hours is one finding, and its score can be queried."""
    job, result = ended(platform, "anomaly", analysed)
    assert job["progress"]["done"] == job["progress"]["total"]
    first, second = result["series"]
    assert [finding["peak_ms"] for finding in first["findings"]] == [analysed[2]]
    assert (first["labels"]["job"], second["findings"]) == ("e2e", [])
    scores = platform.query(
        'cloudopshub_anomaly_score{source_metric="e2e_analysed"} >= 1', at_s=analysed[2] / 1000
    )
    assert [row["metric"]["job"] for row in scores] == ["e2e"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_answers(platform, analysed, kind):
    """Each series is judged or noted, and the summary is a sentence."""
    job, result = ended(platform, kind, analysed, **KINDS[kind])
    assert (job["of"], len(result["series"])) == (2, 2), result
    assert job["summary"]["sentence"]
    assert not [one for one in job["summary"]["notes"] if "could not be judged" in one["note"]]
