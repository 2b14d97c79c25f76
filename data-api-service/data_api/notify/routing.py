"""Where alerts go, and why some are not told: routes, silences, inhibition, times. Pure.

    labels ─▶ routes (the deepest that match) ─▶ group ┬─ silenced or inhibited: this alert not now
                                                       └─ muted by time: the group not now
Source: prometheus/alertmanager `dispatch/route.go`, `inhibit/inhibit.go`, `notify/notify.go`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from data_api.model import Labels, MatchOp
from data_api.notify import matchers
from data_api.notify.config import Configuration, RouteConfig, TimeInterval
from data_api.notify.intervals import in_days_of_month
from data_api.notify.matchers import Predicate
from data_api.notify.state import Received, Silence

ALL_LABELS: Final = ("...",)
INHERITED: Final = frozenset(
    {"receiver", "group_by", "group_wait_ms", "group_interval_ms", "repeat_interval_ms"}
)


@dataclass(frozen=True, slots=True)
class Route:
    """A route; config: with all that it inherits; key: as Alertmanager names it,
    `{}/{severity="page"}`.

    place: its number among those of the same key and receiver, so that a group stays the same when
    other routes come or go.
    """

    key: str
    place: int
    config: RouteConfig
    is_wanted: Predicate
    children: tuple["Route", ...] = ()

    def find(self, labels: Labels) -> list["Route"]:
        """The routes that an alert takes: of the children that match, else this one."""
        if not self.is_wanted(labels):
            return []
        chosen: list[Route] = []
        for child in self.children:
            taken = child.find(labels)
            chosen += taken
            if taken and not child.config.continues:
                break
        return chosen or [self]

    def group_labels(self, labels: Labels) -> dict[str, str]:
        """The labels that the alert's group shares."""
        names = labels if self.config.group_by == ALL_LABELS else self.config.group_by
        return {name: labels[name] for name in sorted(names) if name in labels}


def compiled(
    config: RouteConfig, parent: Route | None = None, places: Counter[tuple[str, str]] | None = None
) -> Route:
    """The tree of routes below `config`."""
    places = Counter() if places is None else places
    wanted = matchers.to_text(config.matchers)
    key = f"{parent.key}/{wanted}" if parent else wanted
    if parent:
        absent = INHERITED - config.model_fields_set
        config = config.model_copy(update={name: getattr(parent.config, name) for name in absent})
    places[key, config.receiver] += 1
    place = places[key, config.receiver]
    route = Route(key, place, config, matchers.predicate(config.matchers))
    children = tuple(compiled(child, route, places) for child in config.routes)
    return replace(route, children=children)


class Inhibition:
    """Which firing alerts keep others from being told.

    An alert that a rule's source and target matchers both select is not inhibited by another such
    alert, so none inhibits itself.
    """

    def __init__(self, config: Configuration, alerts: Iterable[Received], now_ms: int) -> None:
        firing = [one for one in alerts if one.is_firing(now_ms)] if config.inhibit_rules else []
        self._rules = []
        for rule in config.inhibit_rules:
            is_source = matchers.predicate(rule.source_matchers)
            is_target = matchers.predicate(rule.target_matchers)
            # By equal labels: an alert that inhibits, and one that is no target.
            sources: dict[tuple[str, ...], tuple[str, str | None]] = {}
            for one in firing:
                labels = one.alert.labels
                if is_source(labels):
                    key = tuple(labels.get(name, "") for name in rule.equal)
                    source, one_sided = sources.get(key, (one.fingerprint, None))
                    one_sided = one_sided or (None if is_target(labels) else one.fingerprint)
                    sources[key] = source, one_sided
            self._rules.append((rule.equal, is_source, is_target, sources))

    def by(self, labels: Labels) -> str | None:
        """The fingerprint of an alert that inhibits this one; None when none does."""
        for equal, is_source, is_target, sources in self._rules:
            key = tuple(labels.get(name, "") for name in equal)
            if key in sources and is_target(labels):
                any_source, one_sided = sources[key]
                if source := one_sided if is_source(labels) else any_source:
                    return source
        return None


class Silences:
    """The active silences, found by a label pair that they need where they name one."""

    def __init__(self, silences: Iterable[Silence], now_ms: int) -> None:
        self._by_pair: dict[tuple[str, str], list[tuple[str, Predicate]]] = defaultdict(list)
        self._others: list[tuple[str, Predicate]] = []
        for silence in silences:
            if silence.state(now_ms) != "active":
                continue
            entry = (str(silence.silence_id), matchers.predicate(silence.matchers))
            pairs = [
                (one.name, one.value)
                for one in silence.matchers
                if one.op is MatchOp.EQUAL and one.value
            ]
            (self._by_pair[pairs[0]] if pairs else self._others).append(entry)

    def by(self, labels: Labels) -> list[str]:
        """The ids of the silences that this alert is under."""
        candidates = list(self._others)
        for pair in labels.items():
            candidates += self._by_pair.get(pair, ())
        return sorted(name for name, is_meant in candidates if is_meant(labels))


def time_muted_by(route: Route, config: Configuration, now_ms: int) -> list[str]:
    """The names of the intervals that keep this route from telling anything now.

    Outside all of its active intervals it is muted by each of them.
    """
    mute_times, active_times = route.config.mute_time_intervals, route.config.active_time_intervals
    if not mute_times and not active_times:
        return []
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    inside = {
        one.name for one in config.time_intervals if any(_holds(t, now) for t in one.time_intervals)
    }
    muted = [name for name in mute_times if name in inside]
    if active_times and not inside.intersection(active_times):
        muted += active_times
    return muted


def _holds(interval: TimeInterval, now: datetime) -> bool:
    local = now.astimezone(interval.location)
    minute = local.hour * 60 + local.minute
    weekday = (local.weekday() + 1) % 7
    return (
        (not interval.times or any(t.start_time <= minute < t.end_time for t in interval.times))
        and _in_one(interval.weekdays, weekday)
        and (
            not interval.days_of_month
            or any(in_days_of_month(local, days) for days in interval.days_of_month)
        )
        and _in_one(interval.months, local.month)
        and _in_one(interval.years, local.year)
    )


def _in_one(ranges: Sequence[tuple[int, int]], value: int) -> bool:
    return not ranges or any(first <= value <= last for first, last in ranges)


def common(pairs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What all of these have alike."""
    shared = dict(pairs[0]) if pairs else {}
    for one in pairs[1:]:
        shared = {name: value for name, value in shared.items() if one.get(name) == value}
    return shared
