"""Fault after fault until the time is up; then one table."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ci.screen import Screen
from ci.tests.faults.faults import FAULTS, ON_A_SMALL_DISK, kill
from ci.tests.faults.hub import Hub, wait_until
from ci.tests.faults.ledger import Key, Ledger, Request, Verdict, compare

COLUMNS = ("times", "acknowledged", "lost", "doubled", "wrong", "foreign", "pause")


@dataclass(frozen=True)
class Event:
    """One fault as it was. began_ms, ended_ms: wall clock. pause_s: without an acknowledgement."""

    fault: str
    began_ms: float
    ended_ms: float
    pause_s: float


def break_hub(hub: Hub, ledger: Ledger, fault: str) -> Event:
    """The fault is over, writes are back and every service is ready again."""
    began_ms, began_s = time.time() * 1000, time.monotonic()
    (FAULTS | ON_A_SMALL_DISK)[fault](hub)
    over_s = time.monotonic()
    wait_until(f"writes after {fault!r}", lambda: ledger.is_back(over_s))
    pause_s = ledger.longest_pause_s(began_s)
    wait_until(f"every service is ready after {fault!r}", hub.is_ready)
    return Event(fault, began_ms, time.time() * 1000, pause_s)


def run(
    hub: Hub, faults: Sequence[str], duration_s: float, seed: int, screen: Screen
) -> tuple[list[Event], Ledger, Verdict]:
    """Every fault once in an order made from `seed`, and again until `duration_s` is over."""
    wait_until("the hub is ready", hub.is_ready)
    order, ledger = random.Random(seed), Ledger(hub)
    deadline_s = time.monotonic() + duration_s
    events: list[Event] = []
    ledger.start()
    try:
        while not events or time.monotonic() < deadline_s:
            for fault in order.sample(list(faults), len(faults)):
                events.append(break_hub(hub, ledger, fault))
                screen.line(f"  {fault}: {events[-1].pause_s:.2f} s without an acknowledgement")
    finally:
        ledger.stop()
    kill("das")(hub)  # what is only in a reader's memory must not count
    wait_until("every service is ready at the end", hub.is_ready)
    return events, ledger, compare(ledger.sent, ledger.acknowledged, ledger.read_back())


def table(events: Sequence[Event], acknowledged: Sequence[Request], verdict: Verdict) -> str:
    """One row a fault, and all; a sample belongs to the last fault that began before its time."""

    def fault_of(key: Key) -> str:
        before = [event for event in events if event.began_ms <= key[2]]
        return before[-1].fault if before else "before the first"

    rows: dict[str, list[float]] = {}
    for event in events:
        row = rows.setdefault(event.fault, [0.0] * len(COLUMNS))
        row[0] += 1
        row[-1] = max(row[-1], event.pause_s)
    for request in acknowledged:
        row = rows.setdefault(fault_of(next(iter(request.samples))), [0.0] * len(COLUMNS))
        row[1] += len(request.samples)
    kinds = (verdict.lost, verdict.doubled, verdict.wrong, verdict.foreign)
    for column, keys in enumerate(kinds, 2):
        for key in keys:
            rows.setdefault(fault_of(key), [0.0] * len(COLUMNS))[column] += 1
    every = [sum(column) for column in zip(*rows.values(), strict=True)]
    every[-1] = max(row[-1] for row in rows.values())
    lines = ["".join((f"{'fault':26}", *(f"{column:>13}" for column in COLUMNS)))]
    for name, row in [*sorted(rows.items()), ("all", every)]:
        numbers = "".join(f"{number:13,.0f}" for number in row[:-1])
        lines.append(f"{name:26}{numbers}{row[-1]:11.2f} s")
    return "\n".join(lines)
