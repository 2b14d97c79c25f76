"""The life of alerts, against Prometheus' rules of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_api.model import STALE_BITS
from data_api.rules import alerting, schedule
from data_api.rules.alerting import AlertState, Phase, step
from data_api.rules.model import AlertingRule

MINUTE = 60_000


def plain(text, _labels, _value):
    return text


def shown(samples):
    """{(metric name, alertstate): value or "stale"} of samples of one alert."""
    out = {}
    for key, _, value in samples:
        labels = dict(key)
        is_stale = np.float64(value).view(np.uint64) == STALE_BITS
        out[labels["__name__"], labels.get("alertstate")] = "stale" if is_stale else value
    return out


def run(rule, selections, every_ms=MINUTE, **more):
    """(phase, samples, alerts) after each evaluation; a selection: whether the series is there."""
    state, steps = AlertState(), []
    for n, there in enumerate(selections):
        vector = [({"__name__": "up", "job": "x"}, 7.0)] if there else []
        state, samples, alerts = step(rule, state, vector, n * every_ms, plain, **more)
        steps.append((state.phase, shown(samples), alerts))
    return steps


def test_an_alert_is_pending_for_its_time_then_fires_then_is_resolved():
    """`for` is counted from the first evaluation that selected it; what was written and is no more
    gets a stale marker.
    """
    rule = AlertingRule("Down", "up == 0", for_ms=2 * MINUTE, labels={"severity": "page"})
    steps = run(rule, [1, 1, 1, 0, 0])
    assert [phase for phase, _, _ in steps] == [
        "pending",
        "pending",
        "firing",
        "inactive",
        "inactive",
    ]
    assert steps[0][1] == {("ALERTS", "pending"): 1.0, ("ALERTS_FOR_STATE", None): 0.0}
    assert steps[2][1] == {
        ("ALERTS", "firing"): 1.0, ("ALERTS", "pending"): "stale", ("ALERTS_FOR_STATE", None): 0.0,
    }  # fmt: skip
    assert steps[3][1] == {("ALERTS", "firing"): "stale", ("ALERTS_FOR_STATE", None): "stale"}
    assert steps[4][1] == {}
    (fired,), (resolved,) = steps[2][2], steps[3][2]
    assert fired.labels == {"alertname": "Down", "job": "x", "severity": "page"}
    assert (fired.starts_at_ms, fired.ends_at_ms) == (2 * MINUTE, 2 * MINUTE + 4 * MINUTE)
    assert (resolved.starts_at_ms, resolved.ends_at_ms) == (2 * MINUTE, 3 * MINUTE)
    assert not steps[0][2]
    assert not steps[4][2]


def test_what_is_no_longer_selected_while_pending_was_never_an_alert():
    """It is gone at once, tells nobody, and waits its whole time anew."""
    rule = AlertingRule("Down", "up == 0", for_ms=MINUTE)
    steps = run(rule, [1, 0, 1, 1])
    assert [phase for phase, _, _ in steps] == ["pending", "inactive", "pending", "firing"]
    assert [len(alerts) for _, _, alerts in steps] == [0, 0, 0, 1]


def test_a_firing_alert_goes_on_for_keep_firing_for():
    """It is resolved once nothing selected it for that long; selected again, it starts anew."""
    rule = AlertingRule("Down", "up == 0", keep_firing_for_ms=2 * MINUTE)
    phases = [phase for phase, _, _ in run(rule, [1, 0, 0, 1, 0, 0, 0])]
    assert phases == ["firing"] * 6 + ["inactive"]


def test_alerts_are_told_again_after_the_resend_delay_and_resolved_ones_for_15_minutes():
    """Firing: when more than a minute passed; resolved: at once and then alike; then forgotten."""
    rule = AlertingRule("Down", "up == 0")
    steps = run(rule, [1] * 4 + [0] * 20, every_ms=MINUTE // 2)
    told = [n for n, (_, _, alerts) in enumerate(steps) if alerts]
    assert told[:4] == [0, 3, 4, 7]
    long = run(rule, [1] + [0] * 20)
    told = [n for n, (_, _, alerts) in enumerate(long) if alerts]
    assert told == [0, *range(1, 17, 2)]


def test_a_firing_alert_ends_by_itself_some_intervals_ahead():
    """Four times the longer of resend delay and interval, so that two failures end nothing."""
    ((_, _, (alert,)),) = run(AlertingRule("A", "1"), [1], interval_ms=5 * MINUTE)
    assert alert.ends_at_ms == 20 * MINUTE


def test_series_that_get_the_same_labels_are_an_error():
    """Prometheus' words; the metric name is no label of an alert."""
    vector = [({"__name__": "a"}, 1.0), ({"__name__": "b"}, 1.0)]
    with pytest.raises(alerting.RuleError, match="same labelset after applying alert labels"):
        step(AlertingRule("A", "x"), AlertState(), vector, 0, plain)


def test_more_alerts_than_the_limit_are_an_error():
    """The limit itself is allowed."""
    vector = [({"n": str(n)}, 1.0) for n in range(3)]
    step(AlertingRule("A", "x"), AlertState(), vector, 0, plain, limit=3)
    with pytest.raises(alerting.LimitExceeded, match="exceeded limit of 2 with 3 alerts"):
        step(AlertingRule("A", "x"), AlertState(), vector, 0, plain, limit=2)


def test_templates_see_the_sample_and_change_labels():
    """Label values and annotations with `{{` are expanded with labels, name included, and value;
    an alert whose labels change with the value is another alert.
    """
    rule = AlertingRule(
        "A", "x", labels={"v": "{{ v }}"}, annotations={"text": "{{ t }}", "b": "c"}
    )

    def expand(text, labels, value):
        return f"{text}:{labels['__name__']}:{value:g}"

    state, _, (alert,) = step(rule, AlertState(), [({"__name__": "x"}, 2.0)], 0, expand)
    assert alert.labels == {"alertname": "A", "v": "{{ v }}:x:2"}
    assert alert.annotations == {"b": "c", "text": "{{ t }}:x:2"}
    state, _, _ = step(rule, state, [({"__name__": "x"}, 3.0)], MINUTE, expand)
    assert sorted(alert.phase for alert in state.alerts.values()) == ["firing", "inactive"]


def test_what_nobody_was_told_is_due_again():
    """A failed notification is repeated at the very next evaluation."""
    rule = AlertingRule("A", "x")
    before = AlertState()
    after, _, first = step(rule, before, [({}, 1.0)], 0, plain)
    _, _, again = step(rule, alerting.unsent(after, before), [({}, 1.0)], 1000, plain)
    assert len(first) == len(again) == 1


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 5), st.integers(0, 3))
def test_a_law_of_every_history(selections, for_minutes, keep_minutes):
    """It fires exactly when selected for `for` without a break, or kept after that; what is written
    is exactly what is active; stale markers are exactly for what was written before and is not now.
    """
    rule = AlertingRule("A", "x", for_minutes * MINUTE, keep_minutes * MINUTE)
    state, written, streak, silent, fires = AlertState(), set(), 0, 0, False
    for n, there in enumerate(selections):
        streak = streak + 1 if there else 0
        silent = 0 if there else silent + 1
        fires = streak > for_minutes or (fires and (there or silent <= keep_minutes))
        state, samples, alerts = step(rule, state, [({}, 1.0)] if there else [], n * MINUTE, plain)
        phase = Phase.FIRING if fires else Phase.PENDING if there else Phase.INACTIVE
        assert state.phase == phase
        now = {k for k, _, v in samples if np.float64(v).view(np.uint64) != STALE_BITS}
        stale = {k for k, _, _ in samples} - now
        assert bool(now) == (phase is not Phase.INACTIVE)
        assert stale == written - now
        written = now
        assert all(a.ends_at_ms > n * MINUTE for a in alerts) == (fires or not alerts)


def test_a_pause_counts_for_nothing_and_a_long_one_forgets_what_was_pending():
    """Up to five minutes beyond the interval are no pause; up to an hour `for` waits that much
    longer; after that it begins anew. What fires goes on.
    """
    rule = AlertingRule("A", "x", for_ms=10 * MINUTE)
    pending, _, _ = step(rule, AlertState(), [({}, 1.0)], 0, plain)
    firing, _, _ = step(AlertingRule("A", "x"), AlertState(), [({}, 1.0)], 0, plain)
    for minutes, phase in ((6, "pending"), (31, "pending"), (62, "inactive")):
        resumed = schedule.resumed(pending, 0, minutes * MINUTE, MINUTE)
        assert resumed.phase == phase
        (since,) = [a.active_at_ms for a in resumed.alerts.values()] or [None]
        assert since == {6: 0, 31: 30 * MINUTE, 62: None}[minutes]
        assert schedule.resumed(firing, 0, minutes * MINUTE, MINUTE) == firing
    assert schedule.resumed(pending, None, 10**12, MINUTE) == pending


@given(st.integers(0, 10**13), st.integers(1, 10**7), st.text(max_size=9))
def test_slots_are_an_interval_apart_at_the_groups_own_offset(now_ms, interval_ms, name):
    """The slot is the last one that has come; every process finds the same."""
    offset = schedule.offset_ms(("t", "n", name), interval_ms)
    slot = schedule.slot_ms(now_ms, offset, interval_ms)
    assert 0 <= offset < interval_ms
    assert now_ms - interval_ms < slot <= now_ms
    assert (slot - offset) % interval_ms == 0
    for n in range(4):
        assert schedule.missed(slot, slot + n * interval_ms, interval_ms) == max(0, n - 1)
    assert schedule.missed(None, slot, interval_ms) == 0
