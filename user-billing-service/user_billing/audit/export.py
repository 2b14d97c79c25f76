"""An audit log as a file, and back. Pure.

JSON has one event a line and all that the chain's hashes are over, so a file can be proved later;
CSV is for spreadsheets: a cell that would be a formula there begins with an apostrophe.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from user_billing.audit import chain
from user_billing.errors import BadInput
from user_billing.model import AuditEvent

COLUMNS = (
    "seq", "at", "actor", "action", "target", "detail", "request_id", "previous_hash", "hash",
)  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def facts(event: AuditEvent) -> dict[str, Any]:
    """An event as JSON holds it."""
    hashes = {"previous_hash": event.previous_hash.hex(), "hash": event.hash.hex()}
    return {**chain.facts(event), **hashes}


def to_json(events: Iterable[AuditEvent]) -> Iterator[str]:
    """The pieces of a JSON array, an event a line."""
    lead = "[\n"
    for event in events:
        yield lead + json.dumps(facts(event))
        lead = ",\n"
    yield "[]\n" if lead == "[\n" else "\n]\n"


def to_csv(events: Iterable[AuditEvent]) -> Iterator[str]:
    """The lines of a CSV file (RFC 4180), its header first."""
    yield ",".join(COLUMNS) + "\r\n"
    for event in events:
        row = facts(event)
        row["detail"] = json.dumps(event.detail, sort_keys=True)
        line = io.StringIO()
        csv.writer(line).writerow([_cell(row[column]) for column in COLUMNS])
        yield line.getvalue()


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def of_json(text: str) -> list[AuditEvent]:
    """The events of an exported JSON file. Raises BadInput for another file."""
    try:
        return [
            AuditEvent(
                UUID(one["organisation"]), int(one["seq"]), datetime.fromisoformat(one["at"]),
                one["actor"], one["action"], one["target"], one["detail"], one["request_id"],
                bytes.fromhex(one["previous_hash"]), bytes.fromhex(one["hash"]),
            )
            for one in json.loads(text)
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError) as exc:
        raise BadInput(detail="this is no exported audit log (format=json)") from exc


def first_break(events: list[AuditEvent]) -> int | None:
    """Number at which a file, which may begin anywhere in the chain, is not what was exported."""
    if not events:
        return None
    if any(event.organisation_id != events[0].organisation_id for event in events):
        return events[0].seq
    start = chain.Link(events[0].seq - 1, events[0].previous_hash)
    return chain.first_break(events, start)
