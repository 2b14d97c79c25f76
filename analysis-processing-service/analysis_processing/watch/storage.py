"""Where a watch stands, in Postgres: its memory and its position. Each within a caller's claim."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from analysis_processing.watch.watches import Watch


def memory_of(db: Connection, watch: Watch) -> tuple[list[bytes], list[bytes]]:
    """What is remembered: the state by chunk, and the journal in order."""
    mine = {"id": watch.id}
    state = "SELECT payload FROM analysis.watch_state WHERE watch_id = :id ORDER BY chunk_no"
    journal = "SELECT payload FROM analysis.watch_journal WHERE watch_id = :id ORDER BY first_ms"
    return (
        [bytes(payload) for payload in db.scalars(text(state), mine)],
        [bytes(payload) for payload in db.scalars(text(journal), mine)],
    )


def clear(db: Connection, watch: Watch) -> None:
    """Nothing is remembered."""
    for table in ("watch_state", "watch_journal"):
        query = f"DELETE FROM analysis.{table} WHERE watch_id = :id"  # noqa: S608  two names of ours
        db.execute(text(query), {"id": watch.id})


def replace_state(db: Connection, watch: Watch, payloads: Sequence[bytes]) -> None:
    """The state is this, a payload a chunk, and the journal is empty."""
    clear(db, watch)
    query = text("INSERT INTO analysis.watch_state VALUES (:id, :number, :tenant, :payload)")
    mine: dict[str, Any] = {"id": watch.id, "tenant": watch.tenant_id}
    for number, payload in enumerate(payloads):
        db.execute(query, {**mine, "number": number, "payload": payload})


def add_columns(db: Connection, watch: Watch, first_ms: int, payload: bytes) -> None:
    """The journal goes on with these columns."""
    query = text("INSERT INTO analysis.watch_journal VALUES (:id, :first_ms, :tenant, :payload)")
    mine = {"id": watch.id, "tenant": watch.tenant_id}
    db.execute(query, {**mine, "first_ms": first_ms, "payload": payload})


def move(db: Connection, watch: Watch, **place: int) -> None:
    """The watch stands there: `next_ms`, `live_ms` and `series`."""
    query = text("""
        UPDATE analysis.watch SET next_ms = :next_ms, live_ms = :live_ms, series = :series
        WHERE id = :id""")
    db.execute(query, {**place, "id": watch.id})


def alarm_ms(db: Connection, watch: Watch) -> int | None:
    """Up to which column the alarm series goes; None before a first time."""
    query = text("SELECT alarm_ms FROM analysis.watch WHERE id = :id")
    at_ms: int | None = db.scalar(query, {"id": watch.id})
    return at_ms


def mark_alarmed(db: Connection, watch: Watch, to_ms: int) -> None:
    """The alarm series goes up to that column."""
    query = text("UPDATE analysis.watch SET alarm_ms = :to WHERE id = :id")
    db.execute(query, {"id": watch.id, "to": to_ms})
