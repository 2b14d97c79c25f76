"""A tenant's configuration, in the words of Alertmanager's YAML.

    text ── YAML, every scalar a text ──▶ nodes ──▶ models    BadConfiguration: line:column, path

Strict: a key that is not known here is refused, with those that are. What opens another's door is a
`SecretStr`: it is in no log and no answer (`masked`).
Source: prometheus.io/docs/alerting/latest/configuration; ADR 33.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Self
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, BeforeValidator, Field, SecretStr, ValidationError, model_validator

from data_api.notify.errors import BadConfiguration
from data_api.notify.fields import MASK, Duration, MatcherList, Positive, Strict, Text, Url
from data_api.notify.integrations import BasicAuth, Global, Receiver
from data_api.notify.intervals import DaysOfMonth, Minutes, Months, Weekdays, Years, zone
from data_api.rules import yamls

ROUTES_MAX: Final = 500
MATCHERS_MAX: Final = 2_000
DEPTH_MAX: Final = 20
TEXT_BYTES_MAX: Final = 256 * 1024
FAULTS_SHOWN: Final = 5
UTC: Final = ZoneInfo("UTC")

Texts = Annotated[tuple[str, ...], Field(max_length=100)]
Few = Field(max_length=100)


class RouteConfig(Strict):
    """One node of the tree of routes; what is not set is the parent's, but for the intervals."""

    receiver: str = ""
    matchers: MatcherList = ()
    continues: Annotated[bool, Field(alias="continue")] = False
    group_by: Texts = ()
    group_wait_ms: Annotated[Duration, Field(alias="group_wait")] = 30_000
    group_interval_ms: Annotated[Positive, Field(alias="group_interval")] = 300_000
    repeat_interval_ms: Annotated[Positive, Field(alias="repeat_interval")] = 4 * 3_600_000
    mute_time_intervals: Texts = ()
    active_time_intervals: Texts = ()
    routes: tuple["RouteConfig", ...] = ()

    @model_validator(mode="after")
    def groups_once(self) -> Self:
        """A label is named once in group_by; `...` stands alone."""
        if len(set(self.group_by)) != len(self.group_by):
            raise ValueError("group_by names a label twice")
        if "..." in self.group_by and len(self.group_by) > 1:
            raise ValueError("group_by has ..., which is all labels, beside others")
        return self


class InhibitRule(Strict):
    """Alerts that the target matchers select are not told while one of the sources fires."""

    name: str = ""
    source_matchers: MatcherList = ()
    target_matchers: MatcherList = ()
    equal: Texts = ()


class TimeRange(Strict):
    """From the start, up to but without the end."""

    start_time: Minutes
    end_time: Minutes

    @model_validator(mode="after")
    def in_order(self) -> Self:
        """It is not empty."""
        if self.start_time >= self.end_time:
            raise ValueError("start_time must be before end_time; a night is two ranges")
        return self


class TimeInterval(Strict):
    """When all of its fields hold; in each, one of its ranges."""

    times: Annotated[tuple[TimeRange, ...], Few] = ()
    weekdays: Annotated[tuple[Weekdays, ...], Few] = ()
    days_of_month: Annotated[tuple[DaysOfMonth, ...], Few] = ()
    months: Annotated[tuple[Months, ...], Few] = ()
    years: Annotated[tuple[Years, ...], Few] = ()
    location: Annotated[ZoneInfo, BeforeValidator(zone)] = UTC


class NamedIntervals(Strict):
    """Times that routes name; in it when one of them holds."""

    name: Annotated[str, Field(min_length=1)]
    time_intervals: Annotated[tuple[TimeInterval, ...], Few] = ()


class Configuration(Strict):
    """The whole document; without a `route`, alerts go to other Alertmanagers or to nobody."""

    defaults: Annotated[Global, Field(alias="global")] = Global()
    route: RouteConfig | None = None
    receivers: Annotated[tuple[Receiver, ...], Field(max_length=500)] = ()
    inhibit_rules: Annotated[tuple[InhibitRule, ...], Few] = ()
    time_intervals: Annotated[tuple[NamedIntervals, ...], Few] = ()
    templates: Annotated[tuple[Text, ...], Few] = ()
    alertmanager_urls: Annotated[tuple[Url, ...], Field(max_length=10)] = ()

    @model_validator(mode="after")
    def complete(self) -> Self:
        """What is named is there once, and the root takes every alert."""
        for what, names in (
            ("receiver", [one.name for one in self.receivers]),
            ("time interval", [one.name for one in self.time_intervals]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what} {twice[0]!r} stands there twice")
        if (self.route is None) != bool(self.alertmanager_urls):
            raise ValueError("either route or alertmanager_urls must be given, and not both")
        if self.route is not None:
            self._check_root(self.route)
        return self

    def _check_root(self, root: RouteConfig) -> None:
        if not root.receiver:
            raise ValueError("route: the root needs a receiver")
        if root.matchers or root.continues or root.mute_time_intervals:
            raise ValueError("route: the root takes every alert, always: no matchers, no intervals")
        receivers = {one.name for one in self.receivers}
        intervals = {one.name for one in self.time_intervals}
        rules = self.inhibit_rules
        matchers = sum(len(one.source_matchers) + len(one.target_matchers) for one in rules)
        pending, count = [(root, 1)], 0
        while pending:
            route, depth = pending.pop()
            count += 1
            matchers += len(route.matchers)
            if matchers > MATCHERS_MAX:
                raise ValueError(f"more than {MATCHERS_MAX} matchers in routes and inhibit_rules")
            if count > ROUTES_MAX or depth > DEPTH_MAX:
                raise ValueError(f"more than {ROUTES_MAX} routes, or {DEPTH_MAX} in one another")
            if "receiver" in route.model_fields_set and route.receiver not in receivers:
                raise ValueError(f"route: there is no receiver {route.receiver!r}")
            named = {*route.mute_time_intervals, *route.active_time_intervals}
            if missing := sorted(named - intervals):
                raise ValueError(f"route: there is no time interval {missing[0]!r}")
            pending.extend((child, depth + 1) for child in route.routes)

    def receiver(self, name: str) -> Receiver | None:
        """The receiver of that name."""
        return next((one for one in self.receivers if one.name == name), None)


def read(text: str) -> tuple[Configuration, str]:
    """The configuration in `text`, and the same document with `<secret>` for what is one.

    Comments are left out, as in Alertmanager; a template or header that repeats a secret is masked
    whole. BadConfiguration names line, column, path and what is wrong.
    """
    try:
        node, value = yamls.read(text, TEXT_BYTES_MAX)
        defaults = value.get("global") if isinstance(value, dict) else None
        configuration = Configuration.model_validate(value or {}, context=defaults)
    except yamls.BadYaml as exc:
        raise BadConfiguration(detail=str(exc.fault)) from None
    except ValidationError as exc:
        raise BadConfiguration(detail=_explained(exc, node)) from None
    return configuration, _masked(node, frozenset(secrets_in(configuration)))


def quotable(configuration: Configuration) -> tuple[str, ...]:
    """What an answer may quote of secrets, the longest first: them, and their parts of 8 and more.

    Of a URL host and scheme are none.
    """
    texts = set(secrets_in(configuration))
    for secret in tuple(texts):
        path = re.sub(r"^https?://[^/?#]*", "", secret)
        texts.update(part for part in re.split(r"[^A-Za-z0-9_-]+", path) if len(part) > 7)
    return tuple(sorted(texts, key=len, reverse=True))


def secrets_in(value: Any) -> Iterator[str]:
    """Every secret in a model, as plain text; none is empty."""
    if isinstance(value, SecretStr):
        if text := value.get_secret_value():
            yield text
    elif isinstance(value, BaseModel):
        if isinstance(value, BasicAuth):
            yield value.encoded()
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, tuple):
        for one in value:
            yield from secrets_in(one)


def _explained(exc: ValidationError, node: Any) -> str:
    """Where and what, for the first faults; values are not repeated: they may be secrets."""
    faults = []
    for error in exc.errors(include_input=False, include_url=False)[:FAULTS_SHOWN]:
        path = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in error["loc"])
        text = f"{path.removeprefix('.') or 'it'}: {error['msg'].removeprefix('Value error, ')}"
        key = error.get("ctx", {}).get("key")
        loc = error["loc"] if key is None else (*error["loc"], key)
        faults.append(str(yamls.fault(node, loc, text, at_key=True)))
    return "; ".join(faults)


def _masked(node: Any, secrets: frozenset[str]) -> str:
    """The document as YAML without comments; MASK for each scalar that holds a secret."""
    pending = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, yaml.ScalarNode):
            if any(text == one.value or (len(text) > 7 and text in one.value) for text in secrets):
                one.value, one.style = MASK, None
        else:
            pairs = isinstance(one, yaml.MappingNode)
            pending += [part for pair in one.value for part in pair] if pairs else one.value
    return yaml.serialize(node, Dumper=yaml.SafeDumper, allow_unicode=True)
