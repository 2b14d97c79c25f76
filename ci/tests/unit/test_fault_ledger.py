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
    kinds = {name for name in ("lost", "doubled", "wrong", "foreign") if getattr(verdict, name)}
    assert kinds == {kind}
    assert verdict


def test_writes_are_back_with_a_request_that_was_sent_after_the_fault(tmp_path):
    """What was sent before counts for nothing; the pause is the longest time without an answer."""
    ledger = Ledger(Hub(tmp_path))
    ledger.acknowledged.append(Request({}, sent_s=8.0, acknowledged_s=9.9))
    ledger.acknowledged.append(Request({}, sent_s=9.0, acknowledged_s=11.0))
    assert not ledger.is_back(10.0)
    ledger.acknowledged.append(Request({}, sent_s=11.5, acknowledged_s=14.0))
    ledger.acknowledged.append(Request({}, sent_s=14.1, acknowledged_s=14.5))
    assert ledger.is_back(10.0)
    assert ledger.longest_pause_s(10.0) == 3.0
