"""The stand-in's aps: jobs that run for a time one sets, with a result made of waves."""

from __future__ import annotations

import json
import math
import time
import uuid
import zlib
from typing import Any

from contract import Answer, Refused, Request, State, check_bearer, iso
from waves import query_waves

ANALYSIS = {
    "kind": "anomaly",
    "title": "Anomaly detection",
    "version": "1",
    "description": "Marks what a series was not expected to do, judged by its own earlier samples.",
    "parameters": [
        {
            "name": "sensitivity",
            "type": "number",
            "default": 0.5,
            "description": "How little is unusual enough.",
            "minimum": 0,
            "maximum": 1,
        },
        {
            "name": "season",
            "type": "season",
            "default": "auto",
            "description": "What repeats: auto, none or a duration.",
            "choices": ["auto", "none"],
        },
        {
            "name": "direction",
            "type": "choice",
            "default": "both",
            "description": "Which side matters.",
            "choices": ["both", "up", "down"],
        },
        {
            "name": "write_back",
            "type": "boolean",
            "default": True,
            "description": "Write the scores back as a series.",
        },
    ],
}


def new_job(wanted: dict[str, Any]) -> dict[str, Any]:
    """A job of now."""
    return {
        **wanted,
        "id": str(uuid.uuid4()),
        "state": "queued",
        "attempts": 1,
        "error": None,
        "created_at": iso(time.time()),
        "started_at": None,
        "finished_at": None,
        "created_by": "ada@example.org",
        "made": time.time(),
        "progress": {},
    }


def aps(  # noqa: PLR0911 - a table of routes reads best as one match
    state: State, request: Request
) -> Answer:
    """Jobs that run for `job_seconds` of real time."""
    check_bearer(state, request, "aps")
    parts = request.path.strip("/").split("/")
    if request.path == "/api/v1/analyses":
        return 200, {"analyses": [ANALYSIS]}, {}
    if request.path == "/api/v1/jobs" and request.method == "POST":
        wanted = json.loads(request.body)
        query_waves(wanted["query"])
        job = new_job(wanted)
        state.jobs[job["id"]] = job
        return 202, _job(state, job), {}
    if request.path == "/api/v1/jobs":
        return 200, {"jobs": [_job(state, job) for job in reversed(state.jobs.values())]}, {}
    if len(parts) < 4 or parts[3] not in state.jobs:
        raise Refused(404, "not_found", "no such job")
    job = state.jobs[parts[3]]
    match parts[4:]:
        case []:
            return 200, _job(state, job), {}
        case ["cancel"]:
            job["forced"] = "cancelled"
            return 200, _job(state, job), {}
        case ["retry"]:
            job.update(forced=None, made=time.time(), attempts=job["attempts"] + 1)
            return 200, _job(state, job), {}
        case ["result"]:
            return 200, _result(job), {}
    raise Refused(404, "not_found", f"no route {request.path}")


def _job(state: State, job: dict[str, Any]) -> dict[str, Any]:
    age_s = time.time() - job["made"]
    part = min(age_s / state.job_seconds, 1.0)
    job["state"] = job.get("forced") or (
        "queued"
        if age_s < 0.2
        else "running"
        if part < 1
        else "failed"
        if "fails" in job["query"]
        else "succeeded"
    )
    if job["state"] == "failed":
        job["error"] = "the query matched 0 series"
    job["progress"] = {
        "done": round(part * 40, 1),
        "total": 40,
        "message": "judging 3 series",
        "eta_s": max(state.job_seconds - age_s, 0),
    }
    return {name: value for name, value in job.items() if name not in ("made", "forced")}


def _result(job: dict[str, Any]) -> dict[str, Any]:
    times = list(range(job["start_ms"], job["end_ms"] + 1, job["step_ms"]))
    series = []
    for route in ("/api/v1/query_range", "/api/v1/write", "/api/v1/query"):
        scale = 40 if route.endswith("write") else 25
        expected = [scale * (1 + 0.35 * math.sin(at / 6e6)) for at in times]
        values: list[float | None] = [
            mean * (1 + 0.09 * (zlib.crc32(f"{route}{at}".encode()) % 1000 / 500 - 1))
            for at, mean in zip(times, expected, strict=True)
        ]
        anomalies = []
        if route.endswith(("range", "write")):
            for first, length, factor in (
                (int(len(times) * 0.55), max(len(times) // 60, 3), 2.1),
                (int(len(times) * 0.83), max(len(times) // 90, 2), 0.25),
            ):
                for index in range(first, first + length):
                    values[index] = expected[index] * factor
                anomalies.append(
                    {
                        "start_ms": times[first],
                        "end_ms": times[first + length - 1],
                        "peak_ms": times[first + length // 2],
                        "peak_score": 14.2 if factor > 1 else 8.7,
                        "peak_value": expected[first] * factor,
                        "expected": expected[first],
                        "direction": "up" if factor > 1 else "down",
                    }
                )
        for index in range(int(len(times) * 0.2), int(len(times) * 0.22)):
            values[index] = None
        series.append(
            {
                "labels": {"service": "das", "route": route},
                "timestamps_ms": times,
                "values": values,
                "expected": expected,
                "lower": [mean * 0.8 for mean in expected],
                "upper": [mean * 1.2 for mean in expected],
                "score": [0.0] * len(times),
                "anomalies": anomalies,
            }
        )
    return {
        "series": series,
        "written_series": ["cloudopshub_anomaly_score"],
        "summary": {"series": 3, "points": 3 * len(times), "anomalies": 4},
    }
