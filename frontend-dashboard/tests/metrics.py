"""The stand-in's das and dis: waves for queries, and a write that is taken."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

from contract import Answer, Refused, Request, State, check_bearer
from waves import JOBS, METADATA, Wave, query_waves

if TYPE_CHECKING:
    from collections.abc import Mapping


NAMES: dict[str, Any] = {
    "/api/v1/label/job/values": list(JOBS),
    "/api/v1/label/mode/values": ["idle", "iowait", "system", "user"],
    "/api/v1/labels": ["__name__", "cpu", "instance", "job", "mode"],
    "/api/v1/metadata": METADATA,
}


def das(state: State, request: Request) -> Answer:
    """query, query_range, names and metadata."""
    check_bearer(state, request, "das")
    form = (
        {**request.query, **parse_qs(request.body.decode())}
        if request.method == "POST"
        else request.query
    )
    one = {name: values[0] for name, values in form.items()}
    if request.path in NAMES:
        return 200, {"status": "success", "data": NAMES[request.path]}, {}
    match request.path:
        case "/api/v1/query_ranges":
            columns = [form[name] for name in ("query", "start", "end", "step")]
            answers = [_one_of_several(state, request, *q) for q in zip(*columns, strict=True)]
            return 200, {"status": "success", "data": answers}, {}
        case "/api/v1/query_range":
            for piece, delay_s in state.query_delay_s.items():
                if piece in one["query"]:
                    time.sleep(delay_s)
            wave = query_waves(one["query"])
            return (
                200,
                {
                    "status": "success",
                    "data": {"resultType": "matrix", "result": _matrix(wave, one)},
                },
                {},
            )
        case "/api/v1/query":
            at_s = float(one.get("time", time.time()))
            stamp = 5.0 if "changes(" in one["query"] else at_s  # seconds apart, or a time
            result = [
                {
                    "metric": labels,
                    "value": [
                        at_s,
                        str(stamp if "timestamp(" in one["query"] else wave.value(labels, at_s)),
                    ],
                }
                for wave in [query_waves(one["query"])]
                for labels in wave.series
            ]
            return (
                200,
                {"status": "success", "data": {"resultType": "vector", "result": result}},
                {},
            )
        case "/api/v1/label/__name__/values":
            return (
                200,
                {"status": "success", "data": sorted(state.metrics)},
                {},
            )
    raise Refused(404, "not_found", f"no route {request.path}")


def _one_of_several(
    state: State, request: Request, query: str, start: str, end: str, step: str
) -> dict[str, Any]:
    """What query_range answers to it, recorded as if it had been asked alone."""
    fields = {"query": query, "start": start, "end": end, "step": step, "time": end}
    path = "/api/v1/query" if start == end else "/api/v1/query_range"
    alone = replace(request, path=path, query={}, body=urlencode(fields).encode())
    state.requests.append(alone)
    answer: dict[str, Any] = das(state, alone)[1]
    data = answer["data"]
    if data["resultType"] == "vector":
        series = [{"metric": one["metric"], "values": [one["value"]]} for one in data["result"]]
        data |= {"resultType": "matrix", "result": series}
    return answer


def _matrix(wave: Wave, one: Mapping[str, str]) -> list[dict[str, Any]]:
    start, end, step = float(one["start"]), float(one["end"]), float(one["step"])
    now = time.time()
    count = int((end - start) / step + 1e-6) + 1
    times = [start + index * step for index in range(count)]
    hole = start + 0.30 * (end - start), start + 0.34 * (end - start)
    gap = "node_load1" in one["query"]
    return [
        {
            "metric": labels,
            "values": [
                [at, repr(wave.value(labels, at))]
                for at in times
                if at <= now + step and not (gap and hole[0] < at < hole[1])
            ],
        }
        for labels in wave.series
    ]


def dis(state: State, request: Request) -> Answer:
    """Takes everything."""
    if request.path == "/api/v1/write":
        if "hello_cloudopshub" not in state.metrics:
            state.metrics.append("hello_cloudopshub")
        return 204, None, {}
    raise Refused(404, "not_found", f"no route {request.path}")
