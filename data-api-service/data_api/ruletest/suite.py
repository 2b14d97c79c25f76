"""A file of unit tests, read strictly.

    rule_files ─▶ groups          tests ─▶ input_series · alert_rule_test · promql_expr_test

Source: Prometheus `cmd/promtool/unittest.go`, docs *Unit testing for rules*.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from data_api.api.params import parse_time
from data_api.errors import BadRequest
from data_api.model import Labels
from data_api.promqltest.literals import Literal, literals
from data_api.promqltest.script import BadScript, Series, parse_labels, parse_values
from data_api.rules import durations, parsing
from data_api.rules.model import ALERT_NAME, Group, LabelKey, label_key

T = TypeVar("T")
INTERVAL_MS = 60_000
BOUNDS = parsing.Bounds(interval_ms_min=0)

_SUITE = {"rule_files", "evaluation_interval", "group_eval_order", "fuzzy_compare", "tests"}
_TEST = {"name", "interval", "input_series", "alert_rule_test", "promql_expr_test"}
_TEST |= {"external_labels", "external_url", "start_timestamp"}
_ALERT = {"eval_time", "alertname", "exp_alerts"}
_EXPR = {"expr", "eval_time", "exp_samples"}


class BadSuite(Exception):
    """The file is no unit test; the text says where and why."""


@dataclass(frozen=True, slots=True)
class AlertTest:
    """The alerts of a name that fire at a time: (labels, annotations) of each, ascending."""

    at_ms: int
    name: str
    wanted: Sequence[tuple[LabelKey, LabelKey]]


@dataclass(frozen=True, slots=True)
class ExprTest:
    """What an expression selects at a time."""

    at_ms: int
    expr: str
    wanted: Sequence[tuple[Labels, float | Literal]]


@dataclass(frozen=True, slots=True)
class Case:
    """One of `tests`."""

    name: str
    step_ms: int
    start_ms: int
    series: Sequence[Series]
    alerts: Sequence[AlertTest]
    exprs: Sequence[ExprTest]
    external_labels: Labels
    external_url: str


@dataclass(frozen=True, slots=True)
class Suite:
    """A file. fuzzy: values of samples may differ in their last digits."""

    groups: Sequence[Group]
    interval_ms: int
    fuzzy: bool
    cases: Sequence[Case]


def read(path: Path) -> Suite:
    """The tests of a file, with the rules that they are of. Raises BadSuite, OSError."""
    try:
        return _suite(path)
    except yaml.YAMLError as error:
        raise BadSuite(f"{path}: {error}") from error
    except (BadScript, ValueError) as error:
        raise BadSuite(f"{path}: {error}") from error
    except BadRequest as error:
        raise BadSuite(f"{path}: {error.describe()}") from error


def _suite(path: Path) -> Suite:
    # Of this loader every scalar is the text that is written, never a number or a truth value.
    document = _fields(
        yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CBaseLoader),  # noqa: S506 - it makes texts only
        _SUITE,
        "the file",
    )
    groups: list[Group] = []
    for pattern in _list(document, "rule_files"):
        files = (
            sorted(path.parent.glob(pattern))
            if not Path(pattern).is_absolute()
            else [Path(pattern)]
        )
        if not files:
            raise ValueError(f"no rule file {pattern}")
        for file in files:
            groups += _rules(file)
    order = list(_list(document, "group_eval_order"))
    if unknown := set(order) - {group.name for group in groups}:
        raise ValueError(f"group_eval_order: no group {min(unknown)}")
    groups.sort(key=lambda one: order.index(one.name) if one.name in order else len(order))
    interval_ms = _duration(document, "evaluation_interval", INTERVAL_MS)
    if interval_ms <= 0:
        raise ValueError("evaluation_interval must be above zero")
    tests = _list(document, "tests")
    cases = [_case(one, f"test {n}", interval_ms) for n, one in enumerate(tests, 1)]
    return Suite(groups, interval_ms, document.get("fuzzy_compare") == "true", cases)


def _rules(file: Path) -> list[Group]:
    try:
        return parsing.parse_file(file.read_text(encoding="utf-8"), str(file), BOUNDS)
    except parsing.InvalidRules as error:
        raise ValueError(f"{file}:\n{error.describe()}") from error


def _case(given: object, where: str, interval_ms: int) -> Case:
    test = _fields(given, _TEST, where)
    name = str(test.get("name") or "")
    start = str(test.get("start_timestamp") or "0")
    step_ms = _duration(test, "interval", interval_ms)
    return Case(
        name,
        step_ms,
        parse_time(f"{where}: start_timestamp", start.replace(" ", "T")),
        _each(test, "input_series", {"series", "values"}, where, _series),
        _each(test, "alert_rule_test", _ALERT, where, _alert_test),
        _each(test, "promql_expr_test", _EXPR, where, _expr_test),
        _texts(test, "external_labels"),
        str(test.get("external_url") or ""),
    )


def _series(one: Mapping[str, Any]) -> Series:
    labels, rest = parse_labels(str(one.get("series", "")))
    if rest:
        raise ValueError(f"bad series: {one['series']!r}")
    return Series(labels, parse_values(str(one.get("values", ""))))


def _alert_test(one: Mapping[str, Any]) -> AlertTest:
    name = str(one.get("alertname") or "")
    if not name:
        raise ValueError("an item under alert_rule_test misses its alertname")
    wanted = [
        (
            label_key(_texts(alert, "exp_labels") | {ALERT_NAME: name}),
            label_key(_texts(alert, "exp_annotations")),
        )
        for given in _list(one, "exp_alerts")
        for alert in [_fields(given, {"exp_labels", "exp_annotations"}, "exp_alerts")]
    ]
    return AlertTest(_duration(one, "eval_time", 0), name, sorted(wanted))


def _expr_test(one: Mapping[str, Any]) -> ExprTest:
    wanted: list[tuple[Labels, float | Literal]] = []
    for given in _list(one, "exp_samples"):
        sample = _fields(given, {"labels", "value", "histogram"}, "exp_samples")
        labels, rest = parse_labels(str(sample.get("labels") or "{}"))
        if rest:
            raise ValueError(f"bad labels: {sample['labels']!r}")
        native = sample.get("histogram")
        value = float(sample.get("value") or 0) if native is None else literals(str(native))[0]
        wanted.append((labels, value))
    return ExprTest(_duration(one, "eval_time", 0), str(one.get("expr") or ""), wanted)


def _each(
    test: Mapping[str, Any],
    key: str,
    allowed: set[str],
    where: str,
    read_one: Callable[[Mapping[str, Any]], T],
) -> list[T]:
    items: list[T] = []
    for number, one in enumerate(_list(test, key), 1):
        place = f"{where}, {key} {number}"
        try:
            items.append(read_one(_fields(one, allowed, place)))
        except (ValueError, BadScript) as error:
            raise ValueError(f"{place}: {error}") from error
    return items


def _fields(given: object, allowed: set[str], where: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"{where} must be a mapping")  # noqa: TRY004 - one kind of fault
    if unknown := [name for name in given if name not in allowed]:
        raise ValueError(f"{where}: field {unknown[0]} not found; there are {sorted(allowed)}")
    return given


def _list(given: Mapping[str, Any], key: str) -> list[Any]:
    items = given.get(key) or []
    if not isinstance(items, list):
        raise ValueError(f"{key} must be a list")  # noqa: TRY004 - as above
    return items


def _texts(given: Mapping[str, Any], key: str) -> dict[str, str]:
    texts = given.get(key) or {}
    if not isinstance(texts, dict):
        raise ValueError(f"{key} must be a mapping")  # noqa: TRY004 - as above
    return {str(name): str(text) for name, text in texts.items()}


def _duration(given: Mapping[str, Any], key: str, default: int) -> int:
    return durations.parse(str(given[key])) if given.get(key) is not None else default
