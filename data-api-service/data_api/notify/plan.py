"""What is to be told now, and when to look again. Pure: state in, changes out.

    group: new ── group_wait ──▶ flushed ── group_interval ──▶ flushed …
    at a flush, for each integration: something new, all resolved, or repeat_interval over?
        no ─▶ nothing      yes ─▶ an outbox entry; one that still waits is replaced by it
Source: prometheus/alertmanager `dispatch/dispatch.go`, `notify/notify.go` (DedupStage).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, Final
from uuid import uuid4

from data_api.gotemplate.formatting import quote
from data_api.notify import routing
from data_api.notify.config import Configuration
from data_api.notify.integrations import Integration
from data_api.notify.routing import Inhibition, Route, Silences
from data_api.notify.state import GroupTimes, Outbox, Received, Sent, TenantState
from data_api.notify.times import rfc3339

ALERTS_TOLD_MAX: Final = 500
"""Alerts in one notification; the rest is counted (`truncatedAlerts`)."""
CHARACTERS_TOLD_MAX: Final = 512 * 1024
"""Labels and annotations in one notification."""
GROUPS_MAX: Final = 20_000
"""Groups of a tenant; what more of them would be told is not, and the log says so."""
WAITING_MAX: Final = 1_000
"""Notifications of a tenant that wait for an answer: all of them are read in each pass."""
WAITING_OF_ONE_MAX: Final = 200
"""Of one integration, so that others have room beside one that does not answer."""
HELD_BACK_MS: Final = 10_000
"""So long a group waits for that room before it is looked at again."""
RESOLVED_LIFE_MS: Final = 24 * 3_600_000
"""So long a resolved alert waits to be told at most, should its receiver never answer."""
NEVER_MS: Final = 2**62


@dataclass(slots=True)
class Group:
    """Alerts of one route that share its group labels."""

    group_id: str
    route: Route
    labels: dict[str, str]
    members: list[Received] = field(default_factory=list)

    @property
    def key(self) -> str:
        """As Alertmanager names it: `{}:{alertname="Up"}`."""
        pairs = ", ".join(f"{name}={quote(value)}" for name, value in self.labels.items())
        return f"{self.route.key}:{{{pairs}}}"


@dataclass(slots=True)
class Plan:
    """What changes. superseded: rows whose waiting notification a newer one replaces."""

    groups: list[GroupTimes] = field(default_factory=list)
    sent: dict[tuple[str, str], Sent] = field(default_factory=dict)
    superseded: list[Sent] = field(default_factory=list)
    gone_groups: list[str] = field(default_factory=list)
    gone_alerts: list[str] = field(default_factory=list)
    groups_left_out: int = 0
    due_ms: int = NEVER_MS


class Planner:
    """The decisions about one tenant at one time."""

    def __init__(
        self, config: Configuration, root: Route | None, state: TenantState, now_ms: int
    ) -> None:
        self._config = config
        self._root = root
        self._state = state
        self._now_ms = now_ms
        self._groups_left_out = 0
        boxes = ((one.outbox, one.integration) for one in state.sent.values())
        self._waiting = Counter((box.data["receiver"], name) for box, name in boxes if box)

    @cached_property
    def silences(self) -> Silences:
        """Those that are active."""
        return Silences(self._state.silences, self._now_ms)

    @cached_property
    def inhibition(self) -> Inhibition:
        """By the alerts that fire."""
        return Inhibition(self._config, self._state.alerts, self._now_ms)

    @cached_property
    def groups(self) -> dict[str, Group]:
        """Every alert in each group that it belongs to, by the group's id."""
        groups: dict[str, Group] = {}
        for one in self._state.alerts if self._root else ():
            for route in self._root.find(one.alert.labels) if self._root else ():
                labels = route.group_labels(one.alert.labels)
                text = repr((route.place, route.key, route.config.receiver, labels))
                group_id = sha256(text.encode()).hexdigest()[:32]
                if group_id not in groups and len(groups) >= GROUPS_MAX:
                    self._groups_left_out += 1
                    continue
                group = groups.setdefault(group_id, Group(group_id, route, labels))
                group.members.append(one)
        return groups

    def plan(self, external_url: str) -> Plan:
        """Flushes the groups that are due, and forgets what nobody needs any more."""
        plan = Plan()
        after: dict[tuple[str, str], Sent] = dict(self._state.sent)
        flushes: dict[str, int] = {}
        unfinished: set[str] = set()  # alerts that some group has still to tell
        for group in self.groups.values():
            times = self._times(group)
            is_due = times.next_flush_ms <= self._now_ms
            muted: set[str] = set()
            if is_due:
                muted, is_whole = self._flush(group, after, plan, external_url)
                wait_ms = group.route.config.group_interval_ms
                next_ms = self._now_ms + (wait_ms if is_whole else min(wait_ms, HELD_BACK_MS))
                times = replace(times, next_flush_ms=next_ms, flushed_ms=self._now_ms)
            if times != self._state.groups.get(group.group_id):
                plan.groups.append(times)
            flushes[group.group_id] = times.next_flush_ms
            unfinished |= self._unfinished(group, times, after, muted)
        self._forget(plan, after, unfinished)
        plan.groups_left_out = self._groups_left_out
        gone = {*plan.gone_groups, *plan.gone_alerts}
        times_ms = [at_ms for group_id, at_ms in flushes.items() if group_id not in gone]
        times_ms += [sent.outbox.next_attempt_ms for sent in after.values() if sent.outbox]
        if not self.groups:
            alerts = (one for one in self._state.alerts if one.fingerprint not in gone)
            times_ms += [one.alert.ends_at_ms for one in alerts]
        plan.due_ms = min(times_ms, default=NEVER_MS)
        return plan

    def _integrations(self, group: Group) -> dict[str, Integration]:
        receiver = self._config.receiver(group.route.config.receiver)
        assert receiver is not None, "a configuration names no receiver that it does not have"
        return receiver.integrations()

    def _times(self, group: Group) -> GroupTimes:
        wait_ms = group.route.config.group_wait_ms
        new = GroupTimes(group.group_id, group.route.config.receiver, NEVER_MS)
        times = self._state.groups.get(group.group_id, new)
        # No longer than the configuration says now, whatever it or the clock said before.
        longest_ms = wait_ms if times.flushed_ms is None else group.route.config.group_interval_ms
        next_ms = min(times.next_flush_ms, self._now_ms + longest_ms)
        times = replace(times, next_flush_ms=next_ms)
        is_old = any(one.alert.starts_at_ms + wait_ms <= self._now_ms for one in group.members)
        if times.flushed_ms is None and is_old:
            return replace(times, next_flush_ms=min(times.next_flush_ms, self._now_ms))
        return times

    def _flush(
        self, group: Group, after: dict[tuple[str, str], Sent], plan: Plan, external_url: str
    ) -> tuple[set[str], bool]:
        """Puts what is new into the outbox, as far as there is room: returns the fingerprints that
        are muted, and whether there was.
        """
        everybody = {one.fingerprint for one in group.members}
        if routing.time_muted_by(group.route, self._config, self._now_ms):
            return everybody, True
        unmuted = [
            one
            for one in group.members
            if not self.silences.by(one.alert.labels)
            and self.inhibition.by(one.alert.labels) is None
        ]
        is_whole = True
        for name, integration in self._integrations(group).items() if unmuted else ():
            key = (group.group_id, name)
            sent = after.get(key, Sent(*key))
            changed = self._decided(group, unmuted, sent, integration.send_resolved, external_url)
            is_more = changed is not None and changed.outbox and not sent.outbox
            if is_more and not self._has_room(group.route.config.receiver, name):
                is_whole = False
            elif changed is not None:
                if sent.outbox is not None:
                    plan.superseded.append(sent)
                after[key] = plan.sent[key] = changed
        return everybody - {one.fingerprint for one in unmuted}, is_whole

    def _has_room(self, receiver: str, integration: str) -> bool:
        """Whether one more notification may wait, which is then counted."""
        place = receiver, integration
        is_full = self._waiting[place] >= WAITING_OF_ONE_MAX
        if is_full or self._waiting.total() >= WAITING_MAX:
            return False
        self._waiting[place] += 1
        return True

    def _decided(
        self, group: Group, unmuted: list[Received], sent: Sent, send_resolved: bool, url: str
    ) -> Sent | None:
        """The row with what is to be told; None when there is nothing new."""
        now_ms = self._now_ms
        firing = frozenset(one.fingerprint for one in unmuted if one.is_firing(now_ms))
        resolved = {one.fingerprint for one in unmuted} - firing
        last_firing = (sent.outbox or sent).firing
        last_ms = sent.outbox.created_ms if sent.outbox else sent.sent_ms
        if firing:
            is_new = not firing <= last_firing
            is_resolved = send_resolved and bool(resolved & last_firing)
            is_repeat = last_ms + group.route.config.repeat_interval_ms <= now_ms
            if not (is_new or is_resolved or is_repeat):
                # Who is not told of ends is told when it fires again.
                is_over = sent.outbox is None and bool(resolved & last_firing)
                return replace(sent, firing=last_firing - resolved) if is_over else None
        elif not last_firing:
            return None
        if not firing and not send_resolved:
            return replace(sent, firing=firing, sent_ms=now_ms, outbox=None)
        members = unmuted if send_resolved else [one for one in unmuted if one.is_firing(now_ms)]
        data = notification(group, members, now_ms, url)
        outbox = Outbox(uuid4(), firing, now_ms, data, 0, now_ms)
        return replace(sent, outbox=outbox)

    def _unfinished(
        self, group: Group, times: GroupTimes, after: dict[tuple[str, str], Sent], muted: set[str]
    ) -> set[str]:
        """Fingerprints of resolved alerts that this group has not told of, or may have to again."""
        rows = [after.get((group.group_id, name)) for name in self._integrations(group)]
        waiting: set[str] = set()
        for row in filter(None, rows):
            waiting |= row.firing | (row.outbox.firing if row.outbox else frozenset())
        return {
            one.fingerprint
            for one in group.members
            if (times.flushed_ms or 0) < one.alert.ends_at_ms
            or (one.fingerprint in waiting and one.fingerprint not in muted)
        }

    def _forget(self, plan: Plan, after: dict[tuple[str, str], Sent], unfinished: set[str]) -> None:
        """Alerts that have ended and were told, and groups without alerts and waiting entries."""
        for one in self._state.alerts:
            over_ms = self._now_ms - one.alert.ends_at_ms
            if over_ms >= RESOLVED_LIFE_MS or (over_ms >= 0 and one.fingerprint not in unfinished):
                plan.gone_alerts.append(one.fingerprint)
        gone = frozenset(plan.gone_alerts)
        left = frozenset(one.fingerprint for one in self._state.alerts) - gone
        for key, sent in after.items():
            if not sent.firing <= left:  # what comes back is new
                plan.sent[key] = replace(sent, firing=sent.firing & left)
        waiting = {group_id for (group_id, _), sent in after.items() if sent.outbox}
        rows = {*self._state.groups, *self.groups, *(group_id for group_id, _ in after)}
        for group_id in rows - waiting:
            group = self.groups.get(group_id)
            if group is None or all(one.fingerprint in gone for one in group.members):
                plan.gone_groups.append(group_id)


def notification(
    group: Group, members: Sequence[Received], now_ms: int, external_url: str
) -> dict[str, Any]:
    """What templates and webhooks are given: the JSON of Alertmanager's webhook, version 4."""
    ordered = sorted(members, key=lambda one: (not one.is_firing(now_ms), one.key))
    alerts = [
        {
            "status": "firing" if one.is_firing(now_ms) else "resolved",
            "labels": dict(one.key),
            "annotations": dict(one.alert.annotations),
            "startsAt": rfc3339(one.alert.starts_at_ms),
            "endsAt": "0001-01-01T00:00:00Z"
            if one.is_firing(now_ms)
            else rfc3339(one.alert.ends_at_ms),
            "generatorURL": one.alert.generator_url,
            "fingerprint": one.fingerprint,
        }
        for one in _bounded(ordered)
    ]
    return {
        "version": "4",
        "groupKey": group.key,
        "truncatedAlerts": len(ordered) - len(alerts),
        "receiver": group.route.config.receiver,
        "status": "firing" if any(one.is_firing(now_ms) for one in members) else "resolved",
        "alerts": alerts,
        "groupLabels": group.labels,
        "commonLabels": routing.common([one.alert.labels for one in members]),
        "commonAnnotations": routing.common([one.alert.annotations for one in members]),
        "externalURL": external_url,
    }


def _bounded(alerts: Sequence[Received]) -> list[Received]:
    """The first of them, as many as one notification may tell."""
    chosen: list[Received] = []
    characters = 0
    for one in alerts[:ALERTS_TOLD_MAX]:
        texts = (*one.alert.labels.items(), *one.alert.annotations.items())
        characters += sum(len(name) + len(text) for name, text in texts)
        if characters > CHARACTERS_TOLD_MAX and chosen:
            break
        chosen.append(one)
    return chosen
