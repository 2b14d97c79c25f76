"""When a group is told what: waits, intervals, repeats, resolved alerts, what is forgotten."""

from dataclasses import replace
from uuid import uuid4

from data_api.model import Matcher, MatchOp
from data_api.notify.compiled import compiled
from data_api.notify.plan import NEVER_MS, RESOLVED_LIFE_MS, Group, Planner
from data_api.notify.state import Received, Sent, Silence, TenantState, fingerprint
from data_api.rules.model import Alert

START = 1_800_000_000_000
S, M, H = 1_000, 60_000, 3_600_000
CONFIG = """
route: {receiver: a, group_by: [g], group_wait: 30s, group_interval: 5m, repeat_interval: 4h}
receivers:
  - name: a
    webhook_configs: [{url: 'http://h/'}]
    slack_configs: [{api_url: 'http://s/'}]
"""
MUTED = """
route:
  receiver: none
  routes: [{receiver: a, mute_time_intervals: [always]}]
receivers: [{name: none}, {name: a, webhook_configs: [{url: 'http://h/'}]}]
time_intervals: [{name: always, time_intervals: [{}]}]
"""


class Tenant:
    """Applies plans in memory, as the store does, with receivers that answer."""

    def __init__(self, config=CONFIG):
        self.known = compiled(config)
        self.state = TenantState()
        self.now_ms = START
        self.is_answering = True

    def set(self, *alerts):
        alerts = {one.fingerprint: one for one in (*self.state.alerts, *alerts)}
        self.state = replace(self.state, alerts=list(alerts.values()))

    def silence(self, name, value, hours=100):
        one = Silence(
            uuid4(), (Matcher(name, MatchOp.EQUAL, value),), 0, START + hours * H, 0, "", ""
        )
        self.state = replace(self.state, silences=[*self.state.silences, one])

    def at(self, after_ms):
        """What is told at that time: (integration, status, alert names) of each."""
        self.now_ms = START + after_ms
        plan = Planner(self.known.config, self.known.root, self.state, self.now_ms).plan("")
        self.due_ms = plan.due_ms - START
        groups = dict(self.state.groups) | {one.group_id: one for one in plan.groups}
        sent = dict(self.state.sent) | plan.sent
        told = []
        for key, one in list(sent.items()):
            if one.outbox is not None and self.is_answering:
                names = [a["labels"]["n"] for a in one.outbox.data["alerts"]]
                told.append((one.integration, one.outbox.data["status"], "".join(names)))
                box = one.outbox
                sent[key] = Sent(*key, box.created_ms, box.firing)
        self.superseded = plan.superseded
        gone = set(plan.gone_groups)
        self.state = TenantState(
            [one for one in self.state.alerts if one.fingerprint not in plan.gone_alerts],
            self.state.silences,
            {name: one for name, one in groups.items() if name not in gone},
            {key: one for key, one in sent.items() if key[0] not in gone},
        )
        return sorted(told)


def alert(name, group="1", starts=0, ends=100 * H):
    labels = {"n": name, "g": group}
    return Received(Alert(labels, {}, START + starts, START + ends, START), fingerprint(labels))


def firing(names):
    return [("slack/0", "firing", names), ("webhook/0", "firing", names)]


def test_a_new_group_waits_group_wait_and_then_the_interval():
    """What comes meanwhile is told together; later alerts wait for the next interval."""
    tenant = Tenant()
    tenant.set(alert("a"))
    assert tenant.at(0) == []
    assert tenant.due_ms == 30 * S
    tenant.set(alert("b", starts=10 * S))
    assert tenant.at(10 * S) == []
    assert tenant.at(30 * S) == firing("ab")
    tenant.set(alert("c", starts=31 * S))
    assert tenant.at(100 * S) == []
    assert tenant.due_ms == 330 * S
    assert tenant.at(330 * S) == firing("abc")


def test_an_alert_that_is_older_than_group_wait_is_told_at_once():
    """A group that was not told of yet does not wait for alerts that have waited already."""
    tenant = Tenant()
    tenant.set(alert("a", starts=-1 * M))
    assert tenant.at(0) == firing("a")


def test_nothing_new_is_told_again_after_repeat_interval_only():
    """At each group_interval nothing is said, until repeat_interval is over."""
    tenant = Tenant()
    tenant.set(alert("a", starts=-1 * M))
    told = [bool(tenant.at(after * 5 * M)) for after in range(100)]
    assert [after for after, was_told in enumerate(told) if was_told] == [0, 48, 96]


def test_a_resolved_alert_is_told_where_it_is_wanted_and_forgotten():
    """One of several: in the next interval. The last one: once, where send_resolved is set; then
    the alerts, the group and what was sent are gone.
    """
    tenant = Tenant()
    tenant.set(alert("a", starts=-1 * M), alert("b", starts=-1 * M))
    assert tenant.at(0) == firing("ab")
    tenant.set(alert("b", starts=-1 * M, ends=2 * M))
    assert tenant.at(3 * M) == []
    assert tenant.at(5 * M) == [("webhook/0", "firing", "ab")]
    tenant.at(6 * M)
    assert [one.alert.labels["n"] for one in tenant.state.alerts] == ["a"]
    tenant.set(alert("a", starts=-1 * M, ends=9 * M))
    assert tenant.at(10 * M) == [("webhook/0", "resolved", "a")]
    assert tenant.at(11 * M) == []
    assert tenant.state == TenantState([], (), {}, {})
    assert tenant.due_ms + START == NEVER_MS


def test_an_alert_that_ends_before_it_was_told_is_never_told():
    """It fired within group_wait only."""
    tenant = Tenant()
    tenant.set(alert("a", ends=10 * S))
    assert tenant.at(0) == []
    assert tenant.at(30 * S) == []
    assert not tenant.state.alerts
    assert not tenant.state.groups


def test_an_alert_that_fires_again_is_told_again():
    """Resolved and told so, it is new when it comes back."""
    tenant = Tenant()
    tenant.set(alert("a", starts=-1 * M, ends=1 * M), alert("b", starts=-1 * M))
    tenant.at(0), tenant.at(5 * M)
    tenant.set(alert("a", starts=6 * M))
    assert tenant.at(10 * M) == firing("ab")


def test_a_silenced_alert_is_not_told_and_is_when_the_silence_ends():
    """Silence takes precedence over all; its end makes the alert new at the next flush."""
    tenant = Tenant()
    tenant.set(alert("a", starts=-1 * M), alert("b", starts=-1 * M))
    tenant.silence("n", "a", hours=1)
    assert tenant.at(0) == firing("b")
    assert tenant.at(55 * M) == []
    assert tenant.at(61 * M) == firing("ab")


def test_what_ended_in_silence_is_forgotten_and_new_when_it_comes_back():
    """Told, silenced and resolved: nothing is said, nothing stays; fired again, it is told."""
    tenant = Tenant()
    tenant.set(alert("a", starts=-1 * M), alert("b", starts=-1 * M))
    tenant.at(0)
    tenant.silence("n", "a", hours=1)
    tenant.set(alert("a", starts=-1 * M, ends=2 * M))
    assert tenant.at(5 * M) == []
    assert [one.alert.labels["n"] for one in tenant.state.alerts] == ["b"]
    tenant.set(alert("a", starts=60 * M))
    assert tenant.at(61 * M) == firing("ab")


def test_a_muted_time_holds_a_group_back():
    """Nothing is told while a route's mute interval holds, and alerts that end in it are gone."""
    tenant = Tenant(MUTED)
    tenant.set(alert("a", starts=-1 * M, ends=2 * M), alert("b", starts=-1 * M))
    assert tenant.at(0) == []
    assert tenant.at(5 * M) == []
    assert len(tenant.state.alerts) == 1


def test_a_newer_notification_replaces_one_that_still_waits():
    """A receiver that does not answer is told the newest once it does, not all that there was; with
    nothing new the waiting one stays as it is, under its id.
    """
    tenant = Tenant()
    tenant.is_answering = False
    tenant.set(alert("a", starts=-1 * M))
    tenant.at(0)
    waiting = {one.outbox.outbox_id for one in tenant.state.sent.values()}
    tenant.at(5 * M)
    assert waiting == {one.outbox.outbox_id for one in tenant.state.sent.values()}
    tenant.set(alert("b", starts=6 * M))
    tenant.at(10 * M)
    assert {one.outbox.outbox_id for one in tenant.superseded} == waiting
    tenant.is_answering = True
    assert tenant.at(11 * M) == firing("ab")


def test_a_resolved_alert_waits_for_its_receiver_a_day():
    """Not told yet, it stays; after a day it is gone though nobody took it."""
    tenant = Tenant()
    tenant.set(alert("a", starts=-1 * M))
    tenant.at(0)
    tenant.is_answering = False
    tenant.set(alert("a", starts=-1 * M, ends=2 * M))
    tenant.at(5 * M), tenant.at(10 * M)
    assert len(tenant.state.alerts) == 1
    tenant.at(2 * M + RESOLVED_LIFE_MS)
    assert not tenant.state.alerts
    tenant.is_answering = True
    assert tenant.at(3 * M + RESOLVED_LIFE_MS) == [("webhook/0", "resolved", "a")]
    tenant.at(4 * M + RESOLVED_LIFE_MS)
    assert not tenant.state.groups
    assert not tenant.state.sent


def test_alerts_of_other_groups_are_told_apart():
    """A group is a route and the values of its group_by labels."""
    tenant = Tenant()
    tenant.set(alert("a", "1", starts=-1 * M), alert("b", "2", starts=-1 * M))
    assert tenant.at(0) == sorted(firing("a") + firing("b"))


def test_a_notification_is_bounded():
    """At most so many alerts and so much text; the rest is counted, none is lost."""
    tenant = Tenant()
    tenant.is_answering = False
    many = [alert(f"n{number}", starts=-1 * M) for number in range(600)]
    long = replace(many[0].alert, annotations={"text": "x" * 300_000})
    tenant.set(
        *many, *(replace(one, alert=replace(long, labels=one.alert.labels)) for one in many[:3])
    )
    tenant.at(0)
    sent = next(iter(tenant.state.sent.values()))
    assert len(sent.outbox.firing) == 600
    data = sent.outbox.data
    assert len(data["alerts"]) + data["truncatedAlerts"] == 600
    assert sum(len(str(one)) for one in data["alerts"]) < 700_000


def test_the_notification_is_alertmanagers():
    """Version 4 of its webhook: firing first, no end while it fires, what is common."""
    tenant = Tenant()
    tenant.is_answering = False
    tenant.set(alert("z", starts=-1 * M), alert("a", starts=-1 * M, ends=-1))
    tenant.set(replace(alert("y", starts=-1 * M)))
    tenant.at(0)
    data = next(iter(tenant.state.sent.values())).outbox.data
    assert data["groupKey"] == '{}:{g="1"}'
    assert (data["status"], data["version"], data["truncatedAlerts"]) == ("firing", "4", 0)
    assert data["commonLabels"] == data["groupLabels"] == {"g": "1"}
    assert data["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"
    assert data["alerts"][0]["startsAt"] == "2027-01-15T07:59:00.000Z"


def test_a_receiver_that_does_not_answer_fills_no_memory_and_delays_no_other(monkeypatch):
    """So many notifications of one integration wait, and so many in all; what is held back is told
    once there is room, soon, and none is lost.
    """
    monkeypatch.setattr("data_api.notify.plan.WAITING_OF_ONE_MAX", 3)
    monkeypatch.setattr("data_api.notify.plan.WAITING_MAX", 5)
    tenant = Tenant()
    tenant.is_answering = False
    tenant.set(*(alert(f"n{number}", str(number), starts=-1 * M) for number in range(9)))
    tenant.at(0)
    waiting = [one.integration for one in tenant.state.sent.values() if one.outbox]
    assert sorted(waiting) in (
        ["slack/0"] * 3 + ["webhook/0"] * 2,
        ["slack/0"] * 2 + ["webhook/0"] * 3,
    )
    assert tenant.due_ms <= 10 * S
    tenant.is_answering = True
    told = [name for turn in range(12) for *_, name in tenant.at(turn * 10 * S)]
    assert sorted(told) == sorted(2 * [f"n{number}" for number in range(9)])


def test_groups_are_bounded(monkeypatch):
    """Over the bound they are counted, not told."""
    monkeypatch.setattr("data_api.notify.plan.GROUPS_MAX", 2)
    known = compiled(CONFIG)
    alerts = [alert(name, name, starts=-1 * M) for name in "abc"]
    plan = Planner(known.config, known.root, TenantState(alerts), START).plan("")
    assert (len(plan.groups), plan.groups_left_out) == (2, 1)


def test_a_shorter_interval_holds_at_once():
    """A group waits no longer than the configuration says now; nor after a clock that was ahead."""
    tenant = Tenant(CONFIG.replace("group_interval: 5m", "group_interval: 1d"))
    tenant.set(alert("a", starts=-1 * M))
    assert tenant.at(0) == firing("a")
    tenant.known = compiled(CONFIG)
    tenant.set(alert("b", starts=1 * M))
    assert tenant.at(1 * M) == []
    assert tenant.at(6 * M) == firing("ab")


def test_a_group_stays_the_same_when_other_routes_come():
    """A route before it in the configuration: nothing is told again, and its end is told."""
    route = "{receiver: a, group_by: [g], matchers: [n=a]}"
    text = "route: {receiver: a, routes: [%s]}\nreceivers: [{name: a, webhook_configs: [{url: 'http://h/'}]}]"
    tenant = Tenant(text % route)
    tenant.set(alert("a", starts=-1 * M))
    assert tenant.at(0) == [("webhook/0", "firing", "a")]
    tenant.known = compiled(text % f"{{receiver: a, matchers: [n=z]}}, {route}")
    assert tenant.at(5 * M) == []
    tenant.set(alert("a", starts=-1 * M, ends=6 * M))
    assert tenant.at(10 * M) == [("webhook/0", "resolved", "a")]


def test_group_keys_are_unambiguous():
    """Values are quoted as Go does, so no value looks like another label."""
    root = compiled(CONFIG).root
    keys = {
        Group("", root, labels).key
        for labels in ({"a": 'x", b="y'}, {"a": "x", "b": "y"}, {"a": 'x"'})
    }
    assert keys == {'{}:{a="x\\", b=\\"y"}', '{}:{a="x", b="y"}', '{}:{a="x\\""}'}
