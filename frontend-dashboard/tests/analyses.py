"""The stand-in's aps: jobs that run for a time one sets, with results made of waves."""

from __future__ import annotations

import json
import math
import time
import uuid
import zlib
from typing import TYPE_CHECKING, Any

from contract import Answer, Refused, Request, State, check_bearer, iso
from watches import watching
from waves import query_waves

if TYPE_CHECKING:
    from collections.abc import Iterator


def parameter(name: str, type_: str, default: object, **rest: object) -> dict[str, Any]:
    """A parameter as aps describes it."""
    return {"name": name, "type": type_, "default": default, "description": f"{name}.", **rest}


def analysis(kind: str, title: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    """A kind as aps describes it."""
    text = f"{title}, by what each series did before."
    return {
        "kind": kind,
        "title": title,
        "version": "1",
        "description": text,
        "parameters": list(parameters),
    }


ANALYSES = (
    analysis(
        "anomaly",
        "Anomaly detection",
        parameter("sensitivity", "number", 0.5, minimum=0, maximum=1),
        parameter("season", "season", "auto", choices=["auto", "none"]),
        parameter("direction", "choice", "both", choices=["both", "up", "down"]),
        parameter("write_back", "boolean", True),
        parameter("warm_up", "integer", 64, minimum=16, maximum=10_000),
    ),
    analysis(
        "forecast",
        "Forecast",
        parameter("horizon", "duration", "1d"),
        parameter("limit", "text", "", title="Full at", maximum=40),
    ),
    analysis(
        "changes",
        "What changed",
        parameter("split", "time", None, title="Changed at"),
        parameter("group_by", "labels", ["zone"]),
    ),
)
SERIES = 60
WITH_FINDINGS = 30


def new_job(wanted: dict[str, Any]) -> dict[str, Any]:
    """A job of now."""
    return {
        "kind": "anomaly",
        "params": {},
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


def aps(state: State, request: Request) -> Answer:
    """Jobs that run for `job_seconds` of real time, and watches."""
    check_bearer(state, request, "aps")
    parts = request.path.strip("/").split("/")[2:]
    match request.method, parts:
        case "GET", ["analyses"]:
            return 200, {"analyses": list(ANALYSES)}, {}
        case "POST", ["jobs"]:
            wanted = json.loads(request.body)
            query_waves(wanted["query"])
            wanted.pop("force", None)
            job = new_job(wanted)
            state.jobs[job["id"]] = job
            return 202, _job(state, job), {}
        case "GET", ["jobs"]:
            return 200, {"jobs": _jobs(state, request)}, {}
        case _, ["jobs", id_, *rest] if id_ in state.jobs:
            return _one(state, request, state.jobs[id_], rest)
        case _, ["jobs", _, *_]:
            raise Refused(404, "not_found", "no such job")
    return watching(state, request, parts)


def _jobs(state: State, request: Request) -> list[dict[str, Any]]:
    wanted = {name: request.query[name][0] for name in ("kind", "state") if name in request.query}
    jobs = [_job(state, job) for job in reversed(state.jobs.values())]
    return [job for job in jobs if all(job[name] == value for name, value in wanted.items())]


def _one(state: State, request: Request, job: dict[str, Any], rest: list[str]) -> Answer:
    match request.method, rest:
        case "DELETE", []:
            del state.jobs[job["id"]]
            return 204, None, {}
        case _, []:
            return 200, _job(state, job), {}
        case _, ["cancel"]:
            job["forced"] = "cancelled"
            return 200, _job(state, job), {}
        case _, ["retry"]:
            job.update(forced=None, made=time.time(), attempts=job["attempts"] + 1)
            return 200, _job(state, job), {}
        case _, ["events"] if state.streams:
            headers = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
            return 200, _progress(state, job), headers
        case _, ["result"]:
            return _result(job, request)
    raise Refused(404, "not_found", f"no route {request.path}")


def _progress(state: State, job: dict[str, Any]) -> Iterator[bytes]:
    """The job, ten times a second, until it is done."""
    while True:
        shown = _job(state, job)
        yield f"event: job\ndata: {json.dumps(shown)}\n\n".encode()
        if shown["state"] not in ("queued", "running"):
            return
        time.sleep(0.1)


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
    shown = {name: value for name, value in job.items() if name not in ("made", "forced")}
    return shown | {"summary": summary(job["kind"]) if job["state"] == "succeeded" else None}


def summary(kind: str) -> dict[str, Any]:
    """What a job of this kind says of all."""
    both = {
        "series": SERIES,
        "judged": SERIES - 2,
        "points": 86_400,
        "findings": WITH_FINDINGS,
        "notes": [{"note": "fewer than 64 samples", "series": 2}],
    }
    match kind:
        case "forecast":
            soonest = [
                {"labels": {"route": f"/r{at}"}, "time_to_full_s": 90_000 * (at + 1)}
                for at in range(12)
            ]
            return both | {"sentence": "/r0 is full in a day.", "soonest": soonest}
        case "changes":
            groups = [{"label": "zone", "value": "b", "changed": 31, "share": 0.84}]
            return both | {"sentence": "31 of 37 changes share zone=b.", "changes": groups}
    return both | {"sentence": f"{WITH_FINDINGS} of {SERIES} series were unusual."}


def _result(job: dict[str, Any], request: Request) -> Answer:
    if request.headers.get("accept") != "application/json":
        return 200, iter([b"labels,time,value\n"]), {"Content-Type": "text/csv"}
    query = {name: values[0] for name, values in request.query.items()}
    ahead = job["kind"] == "forecast"
    start_ms = job["end_ms"] if ahead else job["start_ms"]
    steps = 200 if ahead else (job["end_ms"] - job["start_ms"]) // job["step_ms"] + 1
    axis = {"start_ms": start_ms, "step_ms": job["step_ms"], "steps": steps}
    numbers = range(WITH_FINDINGS if query.get("only") == "findings" else SERIES)
    first = int(query.get("cursor", 0))
    last = min(first + int(query.get("limit", 50)), len(numbers))
    if "series" in query:
        chosen = [at for at in numbers if name_of(at) == query["series"]]
    else:
        chosen = list(numbers[first:last])
    series = [_series(at, axis, ahead=ahead) for at in chosen]
    for one in series if query.get("columns") == "false" else []:
        del one["columns"]
    following = str(last) if last < len(numbers) and "series" not in query else None
    result = {"axis": axis, "series": series, "next": following, "summary": summary(job["kind"])}
    return 200, result | {"written_series": ["cloudopshub_anomaly_score"]}, {}


def name_of(at: int) -> str:
    """The full name of the series of this rank."""
    return f'{{route="/r{at}", service="das"}}'


def _series(at: int, axis: dict[str, int], *, ahead: bool) -> dict[str, Any]:
    start_ms, step_ms, steps = axis["start_ms"], axis["step_ms"], axis["steps"]
    expected = [25 * (1 + 0.35 * math.sin((start_ms + i * step_ms) / 6e6)) for i in range(steps)]
    noise = [1 + 0.09 * (zlib.crc32(f"{at}{i}".encode()) % 1000 / 500 - 1) for i in range(steps)]
    values: list[float | None] = [a * b for a, b in zip(expected, noise, strict=True)]
    findings = []
    for part, length, factor in ((0.55, 60, 2.1), (0.83, 90, 0.25)):
        first, last = int(steps * part), int(steps * part) + max(steps // length, 2)
        values[first:last] = [value * factor for value in expected[first:last]]
        up = factor > 1
        findings.append(
            {
                "kind": "spike" if up else "shift",
                "start_ms": start_ms + first * step_ms,
                "end_ms": start_ms + (last - 1) * step_ms if up else None,
                "peak_ms": start_ms + first * step_ms,
                "size": 14.2 if up else 8.7,
                "value": values[first],
                "expected": expected[first],
                "lower": expected[first] * 0.8,
                "upper": expected[first] * 1.2,
                "direction": "up" if up else "down",
                "text": f"{'Twice' if up else 'A quarter of'} what was expected.",
            }
        )
    values[steps // 5 : steps // 5 + 3] = [None] * 3
    columns = {
        "values": values,
        "expected": expected,
        "lower": [mean * 0.8 for mean in expected],
        "upper": [mean * 1.2 for mean in expected],
        "score": [0.0] * steps,
    }
    if ahead:
        del columns["values"]
        columns |= {"lower_80": [mean * 0.9 for mean in expected]}
        columns |= {"upper_80": [mean * 1.1 for mean in expected]}
    return {
        "labels": {"service": "das", "route": f"/r{at}"},
        "score": 14.2 - at / 10,
        "facts": {"season": "1d", "usual_deviation": 2.25},
        "findings": findings if at < WITH_FINDINGS and not ahead else [],
        "note": "fewer than 64 samples" if at >= SERIES - 2 else None,
        "columns": columns,
    }
