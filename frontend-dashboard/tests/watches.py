"""The stand-in's watches, their events and silences."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from accounts import SESSION
from contract import Answer, Refused, Request, State

MINUTE_MS = 60_000


def watch(name: str, **rest: Any) -> dict[str, Any]:
    """A watch of now."""
    return {
        "id": str(uuid.uuid4()),
        "name": name,
        "query": "rate(http_requests_total[5m])",
        "step_ms": MINUTE_MS,
        "params": {"sensitivity": 0.5},
        "enabled": True,
        "state": "watching",
        "created_by": "ada@example.org",
        "series": 12,
        "error": None,
        "judged_until_ms": int(time.time() * 1000) - MINUTE_MS,
        **rest,
    }


def event(of: dict[str, Any], text: str, **rest: Any) -> dict[str, Any]:
    """An event that began ten minutes ago and lasts."""
    return {
        "id": str(uuid.uuid4()),
        "watch_id": of["id"],
        "watch": of["name"],
        "labels": {"__name__": "node_load1", "instance": "a"},
        "kind": "shift",
        "start_ms": int(time.time() * 1000) - 10 * MINUTE_MS,
        "end_ms": None,
        "size": 7.5,
        "text": text,
        "expected": 2.0,
        "lower": 1.0,
        "upper": 3.0,
        "because_of": [],
        "acknowledged_by": None,
        "acknowledged_at": None,
        "silenced_until": None,
        **rest,
    }


def watching(state: State, request: Request, parts: list[str]) -> Answer:
    """The routes of events, watches and silences."""
    body = json.loads(request.body or b"{}")
    match parts:
        case ["events"]:
            return 200, {"events": _feed(state, request), "next": None}, {}
        case ["events", id_, "ack"]:
            (acknowledged,) = (one for one in state.events if one["id"] == id_)
            acknowledged["acknowledged_by"] = SESSION["user"]["id"]
            acknowledged["acknowledged_at"] = "2026-01-01T00:00:00Z"
            return 200, acknowledged, {}
        case ["watches" | "silences" as name, *rest]:
            return _one_of(state, name, request.method, rest, body)
    raise Refused(404, "not_found", f"no route {request.path}")


def _feed(state: State, request: Request) -> list[dict[str, Any]]:
    wanted = {name: values[0] for name, values in request.query.items()}
    is_open = wanted["state"] == "open"
    return [
        one
        for one in state.events
        if (one["end_ms"] is None) == is_open
        and wanted.get("kind", one["kind"]) == one["kind"]
        and wanted.get("q", "").lower() in one["text"].lower()
        and ("silenced" in wanted or one["silenced_until"] is None)
    ]


def _one_of(state: State, name: str, method: str, rest: list[str], body: dict[str, Any]) -> Answer:
    known = state.watches if name == "watches" else state.silences
    match method, rest:
        case "POST", []:
            made = {"id": str(uuid.uuid4()), **body}
            if name == "watches":
                made = watch(**body, series=None, judged_until_ms=None)
            known[made["id"]] = made
            for event_ in state.events if name == "silences" else []:
                if event_["kind"] == body["matchers"]["kind"]:
                    event_["silenced_until"] = body["until"]
            return 201, made, {}
        case "PUT", [id_]:
            known[id_].update(body, state="watching" if body["enabled"] else "stopped")
            return 200, known[id_], {}
        case "DELETE", [id_]:
            del known[id_]
            return 204, None, {}
    return 200, {name: list(known.values())}, {}
