"""An analysis from question to answer on the running platform, its scores read back as a series."""

import time

import httpx
from native_platform import eventually

MINUTE_MS = 60_000
POINTS = 240


def test_an_anomaly_is_found_and_its_score_is_a_series(platform):
    """One outlier in four quiet hours is one episode, and its score can be queried."""
    now_ms = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS
    times = [now_ms - (POINTS - n) * MINUTE_MS for n in range(POINTS)]
    spike_ms = times[200]
    samples = [(t, 500.0 if t == spike_ms else 20.0 + n * 7 % 5) for n, t in enumerate(times)]
    assert platform.write({"__name__": "e2e_analysed", "job": "e2e"}, samples) == 204

    jobs = f"{platform.url}/api/analysis-processing-service/api/v1/jobs"
    headers = {"Authorization": f"Bearer {platform.key}"}
    question = {
        "kind": "anomaly",
        "query": "e2e_analysed",
        "start_ms": times[0],
        "end_ms": times[-1],
        "step_ms": MINUTE_MS,
        "params": {},
    }
    submitted = httpx.post(jobs, json=question, headers=headers, timeout=600)
    assert submitted.status_code == 202, submitted.text
    job = submitted.json()
    again = httpx.post(jobs, json=question, headers=headers, timeout=600)
    assert (again.status_code, again.json()["id"]) == (200, job["id"])

    def done():
        found = httpx.get(f"{jobs}/{job['id']}", headers=headers, timeout=600).json()
        return found if found["state"] not in {"queued", "running"} else None

    finished = eventually("the job is done", done)
    assert (finished["state"], finished["error"]) == ("succeeded", None), finished
    assert finished["progress"]["done"] == finished["progress"]["total"]
    (series,) = httpx.get(f"{jobs}/{job['id']}/result", headers=headers, timeout=600).json()[
        "series"
    ]
    assert [episode["peak_ms"] for episode in series["anomalies"]] == [spike_ms]
    scores = platform.query(
        'cloudopshub_anomaly_score{source_metric="e2e_analysed"}', at_s=spike_ms / 1000
    )
    assert [float(row["value"][1]) > 3 for row in scores] == [True]
