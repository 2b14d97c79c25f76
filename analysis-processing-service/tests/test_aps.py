"""The service from outside: its two processes, booted as in production, and what they answer."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from neighbours import Neighbours, Port, api_key

SERVICE = Path(__file__).resolve().parent.parent
KEY = {"Authorization": f"Bearer {api_key('a')}"}
STEP_MS = 60_000
START_MS = 1_760_000_000_000 - 1_760_000_000_000 % STEP_MS
STEPS = 2_000
SPIKE = 1_500


def wave(ms: int) -> float:
    """A noisy wave with one spike; the noise of a moment is the same whenever it is asked for."""
    i = (ms - START_MS) // STEP_MS
    noise = float(np.random.default_rng(i % 100_000).normal())
    return 50 + 5 * np.sin(i / 200) + noise + (40 if i == SPIKE else 0)


def until(condition, seconds=600.0):
    """The condition's first true value; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        threading.Event().wait(0.05)
    raise AssertionError("not in time")


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to clients."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture
def neighbours():
    fakes = Neighbours()
    with Port(fakes) as port:
        fakes.url = port.url
        yield fakes
        for hold in (fakes.hold, fakes.hold_second_write):
            if hold is not None:
                hold.set()


@pytest.fixture
def processes(environment, neighbours, engine):
    started = []
    urls = {f"{name}_URL": neighbours.url for name in ("UBS", "DAS", "DIS")}

    def start(module: str, **more: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", module], cwd=SERVICE, env={**environment, **urls, **more}
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(600)


@pytest.fixture
def api(processes):
    port = free_port()
    processes("analysis_processing", PORT=str(port))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=KEY, timeout=600) as client:

        def answers() -> bool:
            try:
                return client.get("/health").status_code == 200
            except httpx.TransportError:
                return False

        until(answers)
        yield client


def submit(api, **changed):
    asked = {
        "kind": "anomaly",
        "query": "cpu",
        "start_ms": START_MS,
        "end_ms": START_MS + (STEPS - 1) * STEP_MS,
        "step_ms": STEP_MS,
    }
    return api.post("/api/v1/jobs", json=asked | changed)


def test_probes_and_documentation(api):
    """The probes, the metrics and the OpenAPI document need no credential, and all is ready."""
    open_client = httpx.Client(base_url=api.base_url, timeout=600)
    with open_client:
        ready = open_client.get("/ready")
        assert ready.status_code == 200, ready.text
        assert ready.json()["checks"].keys() == {"database", "user-billing-service"}
        assert "cloudopshub_http_requests_total" in open_client.get("/metrics").text
        assert "/api/v1/jobs" in open_client.get("/openapi.json").json()["paths"]


def test_a_request_without_a_key_is_refused(api):
    """Nobody's request is answered 401 in Prometheus's envelope."""
    answer = httpx.get(f"{api.base_url}/api/v1/jobs", timeout=600)
    assert answer.status_code == 401
    assert answer.json()["errorType"] == "unauthenticated"


def test_from_question_to_anomaly_to_score_series(api, processes, neighbours):
    """A submitted job is run by the worker: the spike is found, and the scores are written back."""
    neighbours.series = [
        ({"__name__": "cpu", "host": "a"}, wave),
        ({"__name__": "cpu", "host": "b"}, lambda _: 7.0),
    ]
    processes("analysis_processing.worker")
    answer = submit(api)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    again = submit(api)
    assert (again.status_code, again.json()["id"]) == (200, job["id"])

    def ended():
        held = api.get(f"/api/v1/jobs/{job['id']}").json()
        return held if held["finished_at"] else None

    held = until(ended)
    assert (held["state"], held["error"]) == ("succeeded", None), held
    assert held["progress"]["done"] == held["progress"]["total"] > 0
    result = api.get(f"/api/v1/jobs/{job['id']}/result").json()
    counts = {name: result["summary"][name] for name in ("series", "judged", "points", "findings")}
    assert counts == {"series": 2, "judged": 2, "points": 2 * STEPS, "findings": 1}
    assert result["written_series"] == ["cloudopshub_anomaly_alarm", "cloudopshub_anomaly_score"]
    first, flat = result["series"]
    assert first["labels"] == {"__name__": "cpu", "host": "a"}
    (found,) = first["findings"]
    assert found["peak_ms"] == START_MS + SPIKE * STEP_MS
    assert found["direction"] == "up"
    assert flat["findings"] == []
    assert first["columns"]["score"][0] is None
    assert {len(column) for column in first["columns"].values()} == {STEPS}
    written = {(dict(labels)["__name__"], dict(labels)["host"]) for labels in neighbours.written}
    assert written >= {("cloudopshub_anomaly_score", "a"), ("cloudopshub_anomaly_alarm", "a")}
    assert (
        "/api/v1/write",
        "Bearer token:0a0a0a0a-0000-4000-8000-000000000001:dis:metrics:write",
    ) in neighbours.asked


def test_a_killed_worker_loses_nothing(api, processes, neighbours, engine):
    """After kill -9 of a worker in the middle of a job, another one finishes it after the lease."""
    neighbours.series = [({"host": "a"}, wave)]
    neighbours.hold = threading.Event()
    doomed = processes("analysis_processing.worker")
    job = submit(api).json()["id"]
    assert neighbours.entered.wait(600)
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.wait(600)
    neighbours.hold.set()
    with engine.begin() as db:
        db.exec_driver_sql("UPDATE analysis.job SET lease_until = now()")
    processes("analysis_processing.worker")
    held = until(lambda: (h := api.get(f"/api/v1/jobs/{job}").json())["finished_at"] and h)
    assert (held["state"], held["attempts"]) == ("succeeded", 2)


@pytest.mark.parametrize("victim", ["child", "worker"])
def test_killed_in_the_middle_of_its_parts_a_job_ends_right(
    api, processes, neighbours, engine, victim
):
    """After kill -9 of the job's process, or its worker, each part is in the result once."""
    count = 520
    neighbours.series = [
        ({"n": f"{n:03}"}, lambda ms, n=n: (ms // STEP_MS + n) % 3 + 90.0 * (ms == spike_ms))
        for n in range(count)
    ]
    spike_ms = START_MS + 150 * STEP_MS
    neighbours.hold_second_write = threading.Event()
    worker = processes("analysis_processing.worker", APS_WORKER_LEASE_S="1")
    end_ms = START_MS + 199 * STEP_MS
    job = submit(api, end_ms=end_ms, params={"season": "none"}).json()["id"]
    assert neighbours.wrote.wait(600)
    (child,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    os.kill(int(child) if victim == "child" else worker.pid, signal.SIGKILL)
    neighbours.hold_second_write.set()
    if victim == "worker":
        worker.wait(600)
        processes("analysis_processing.worker", APS_WORKER_LEASE_S="1")
    held = until(lambda: (h := api.get(f"/api/v1/jobs/{job}").json())["finished_at"] and h)
    assert (held["state"], held["error"]) == ("succeeded", None)
    assert held["attempts"] >= 2
    with engine.begin() as db:
        stored = db.exec_driver_sql("SELECT chunk_no, series FROM analysis.chunk ORDER BY 1").all()
        names = db.exec_driver_sql("SELECT labels->>'n' FROM analysis.series").scalars().all()
    assert stored == [(0, 256), (2, 256), (4, 8)]
    assert sorted(names) == [f"{n:03}" for n in range(count)]
    alarms = {dict(labels)["n"] for labels in neighbours.written}
    assert alarms == set(names)


def test_cancel_stops_a_running_job(api, processes, neighbours):
    """One that waits for another service is cancelled meanwhile; the worker takes the next."""
    neighbours.series = [({"host": "a"}, wave)]
    neighbours.hold = threading.Event()
    processes("analysis_processing.worker")
    job = submit(api).json()["id"]
    assert neighbours.entered.wait(600)
    assert api.post(f"/api/v1/jobs/{job}/cancel").status_code == 200
    until(lambda: api.get(f"/api/v1/jobs/{job}").json()["state"] == "cancelled")
    neighbours.hold.set()
    assert api.post(f"/api/v1/jobs/{job}/retry").json()["state"] == "queued"
    until(lambda: api.get(f"/api/v1/jobs/{job}").json()["state"] == "succeeded")


def test_sigterm_gives_the_running_job_back(api, processes, neighbours):
    """A worker that is asked to stop ends at once, and its job is queued with no attempt spent."""
    neighbours.series = [({"host": "a"}, wave)]
    neighbours.hold = threading.Event()
    worker = processes("analysis_processing.worker")
    job = submit(api).json()["id"]
    assert neighbours.entered.wait(600)
    worker.terminate()
    assert worker.wait(600) == 0
    held = api.get(f"/api/v1/jobs/{job}").json()
    assert (held["state"], held["attempts"]) == ("queued", 0)


@pytest.mark.parametrize("module", ["analysis_processing", "analysis_processing.worker"])
def test_a_missing_setting_stops_the_start_with_its_name(module, environment):
    """One line on stderr names what is missing."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=SERVICE,
        env={"PATH": environment["PATH"], "DATABASE_URL": environment["DATABASE_URL"]},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"analysis-processing-service cannot start: .*SERVICE_TOKEN.*\n", done.stderr
    )


@pytest.mark.parametrize("module", ["analysis_processing.app", "analysis_processing.worker"])
def test_processes_that_idle_import_nothing_heavy(module, environment):
    """Neither the web process nor the idle worker pays for numpy, pandas or numba."""
    heavy = "{'numpy', 'pandas', 'numba', 'pyarrow'} & set(sys.modules)"
    code = f"import {module}, sys, json; print(json.dumps(sorted({heavy})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SERVICE, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
