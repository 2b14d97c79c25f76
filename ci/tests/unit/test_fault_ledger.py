"""The ledger of the fault run: it sees what it is there to see."""

import pytest

from ci.tests.faults.hub import Hub
from ci.tests.faults.ledger import Ledger, Request, compare


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        pytest.param({}, "lost", id="not there"),
        pytest.param({(("0", "0", 5), 1.0): 2}, "doubled", id="twice"),
        pytest.param({(("0", "0", 5), 2.0): 1}, "wrong", id="another value"),
        pytest.param(
            {(("0", "0", 5), 1.0): 1, (("0", "0", 6), 1.0): 1}, "foreign", id="never sent"
        ),
    ],
)
def test_the_ledger_sees_each_kind_of_fault(stored, kind):
    """What is lost, doubled, wrong or foreign is told, each under its own name and no other."""
    sent = {("0", "0", 5): 1.0}
    verdict = compare(sent, [Request(sent, 0.0, 1.0)], stored)
    told = {name for name in ("lost", "doubled", "wrong", "foreign") if getattr(verdict, name)}
    assert told == {kind}
    assert verdict


def test_a_request_sent_before_a_fault_does_not_count_as_back(tmp_path):
    """Writes are back with the first acknowledged request that was sent after the fault began."""
    ledger = Ledger(Hub(tmp_path))
    ledger.acknowledged.append(Request({}, sent_s=9.0, acknowledged_s=11.0))
    assert ledger.first_sent_after(10.0, 0) is None
    ledger.acknowledged.append(Request({}, sent_s=10.5, acknowledged_s=12.0))
    ledger.acknowledged.append(Request({}, sent_s=12.5, acknowledged_s=13.0))
    assert ledger.first_sent_after(10.0, 1) == 12.0
