"""What notification templates call and see. Source: Alertmanager's `template/template.go`."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from data_api.gotemplate.builtins import format_time
from data_api.gotemplate.errors import CallFailed
from data_api.gotemplate.prometheus import PURE_FUNCTIONS
from data_api.gotemplate.values import Function, StringMap


class Pair(NamedTuple):
    """One label."""

    Name: str
    Value: str


class Pairs(list[Pair]):
    """Labels in order."""

    go_type = "template.Pairs"

    def go_text(self) -> str:
        """`a=1, b=2`."""
        return ", ".join(f"{name}={value}" for name, value in self)


class KV(StringMap):
    """Labels or annotations of a notification."""

    go_type = "template.KV"

    def pairs(self) -> Pairs:
        """`alertname` first, the others by name."""
        names = sorted(self, key=lambda name: (name != "alertname", name))
        return Pairs(Pair(name, self[name]) for name in names)

    def go_text(self) -> str:
        """As the pairs."""
        return self.pairs().go_text()

    def remove(self, names: Iterable[str]) -> "KV":
        """All but these."""
        gone = set(names)
        return KV({name: value for name, value in self.items() if name not in gone})


class Alerts(list[Mapping[str, object]]):
    """Alerts of a notification: `Status`, `Labels`, `Annotations`, `StartsAt`, `EndsAt`, …"""

    go_type = "template.Alerts"


def _zone(name: str, time: datetime) -> datetime:
    try:
        return time.astimezone(ZoneInfo(name or "UTC"))
    except (ValueError, OSError, KeyError, OverflowError):  # the last: of the year 1
        raise CallFailed(f"unknown time zone {name}, or no such time in it") from None


def _join(spend: Callable[[int], None], mark: str, texts: list[str]) -> str:
    spend(len(mark) * len(texts))
    return mark.join(texts)


def _title(text: str) -> str:
    """Unlike that of rules: other letters become small ones."""
    return re.sub(r"[\w'’]+", lambda word: word[0][0].upper() + word[0][1:].lower(), text)


def functions(now: datetime) -> dict[str, Function]:
    """By name; `since` counts up to `now`."""
    string = ("string",)
    same = ("toUpper", "toLower", "match", "safeHtml", "reReplaceAll", "humanizeDuration")
    return {name: PURE_FUNCTIONS[name] for name in same} | {
        "title": Function(_title, string),
        "trimSpace": Function(str.strip, string),
        "join": Function(_join, ("string", "[]string"), spends=True),
        "stringSlice": Function(lambda *texts: list(texts), string, variadic=True),
        "date": Function(lambda layout, time: format_time(time, layout), ("string", "time.Time")),
        "tz": Function(_zone, ("string", "time.Time")),
        "since": Function(lambda time: now - time, ("time.Time",)),
    }


def _with(status: str) -> Function:
    return Function(lambda alerts: Alerts(one for one in alerts if one.get("Status") == status))


METHODS: Mapping[type, Mapping[str, Function]] = {
    Pairs: {
        "Names": Function(lambda pairs: [name for name, _ in pairs]),
        "Values": Function(lambda pairs: [value for _, value in pairs]),
    },
    KV: {
        "SortedPairs": Function(KV.pairs),
        "Remove": Function(KV.remove, ("[]string",)),
        "Names": Function(lambda kv: [name for name, _ in kv.pairs()]),
        "Values": Function(lambda kv: [value for _, value in kv.pairs()]),
    },
    Alerts: {"Firing": _with("firing"), "Resolved": _with("resolved")},
}
