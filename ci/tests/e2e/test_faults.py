"""The standing fault run, short: `python -m ci faults` does it for as long as one likes."""

import io

from ci.screen import Screen
from ci.tests.faults import run as fault_run
from ci.tests.faults.hub import Hub

SHORT = ["kill dis", "end database sessions", "crash a database session", "cut uploads"]


def test_nothing_acknowledged_is_lost_doubled_or_wrong(platform):
    """Through faults of every kind, each acknowledged sample is there once, with its value."""
    hub = Hub(platform.data_dir)
    events, ledger, verdict = fault_run.run(hub, SHORT, 0, 1, Screen(stream=io.StringIO()))
    report = fault_run.table(events, ledger.acknowledged, verdict)
    assert {event.fault for event in events} == set(SHORT)
    assert len(ledger.acknowledged) > len(SHORT), report
    assert not verdict, report
    assert not ledger.refused
