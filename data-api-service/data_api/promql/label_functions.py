"""Functions of labels: replace, join and sort, and the labels of `absent`."""

import re
from dataclasses import replace

import numpy as np
import re2

from data_api.model import F64, METRIC_NAME, Labels, MatchOp, compile_regex
from data_api.promql.context import Budget
from data_api.promql.errors import EvaluationError
from data_api.promql.nodes import Expr, MatrixSelector, VectorSelector, unwrap
from data_api.promql.values import (
    Vector,
    by_labels,
    checked,
    merge_equal,
    ordered,
    sort_key,
    vector,
)

_REFERENCE = re.compile(r"\$(?:\$|([A-Za-z0-9_]+)|\{([A-Za-z0-9_]+)\})?")
_DIGITS = re.compile(r"([0-9]+)")


def with_label(labels: Labels, name: str, value: str, budget: Budget) -> Labels:
    """`labels` with one label set, or removed where the value is empty; counted in `budget`."""
    budget.check_value(labels, name, value, len(value))
    changed = dict(labels)
    if value:
        changed[name] = value
    else:
        changed.pop(name, None)
    budget.made(changed, len(value))
    return changed


def _check_destination(name: str, function: str) -> None:
    if not name:
        raise EvaluationError(reason=f'invalid destination label name in {function}(): "{name}"')


def label_replace(  # noqa: PLR0917 - the function's own arguments
    budget: Budget, value: Vector, destination: str, replacement: str, source: str, pattern: str
) -> Vector:
    """`destination` set to the expanded replacement wherever the whole source value matches."""
    try:
        program = compile_regex(pattern)
    except re2.error as exc:
        raise EvaluationError(
            reason=f'invalid regular expression in label_replace(): "{pattern}"'
        ) from exc
    _check_destination(destination, "label_replace")
    parts = _template(replacement, program)
    labels: list[Labels] = []
    unnamed = value.unnamed.copy()
    for row, old in enumerate(checked(value.labels)):
        match = program.fullmatch(old.get(source, ""))
        if match is None:
            labels.append(old)
            continue
        texts = [part if isinstance(part, str) else match.group(part) or "" for part in parts]
        budget.check_value(old, destination, next(filter(None, texts), ""), sum(map(len, texts)))
        labels.append(with_label(old, destination, "".join(texts), budget))
        if destination == METRIC_NAME:
            unnamed[row] = False
    return merge_equal(replace(value, labels=labels, unnamed=unnamed))


def _template(text: str, program: re2._Regexp) -> list[str | int]:
    """Go's `Regexp.Expand`: `$1`, `$name`, `${1}x`, `$$` as texts and groups by number; an unknown
    group is empty.
    """
    parts: list[str | int] = []
    end = 0
    for reference in _REFERENCE.finditer(text):
        parts.append(text[end : reference.start()])
        end = reference.end()
        name = reference[1] or reference[2]
        if name is None:
            parts.append("$")
        elif not name.isdigit():
            parts += [program.groupindex[name]] if name in program.groupindex else []
        elif len(name) < 9 and int(name) <= program.groups:
            parts.append(int(name))
    return [*parts, text[end:]]


def label_join(
    budget: Budget, value: Vector, destination: str, separator: str, *sources: str
) -> Vector:
    """`destination` set to the values of the sources, joined."""
    _check_destination(destination, "label_join")
    labels: list[Labels] = []
    for old in value.labels:
        parts = [old.get(source, "") for source in sources]
        length = sum(map(len, parts)) + len(separator) * (len(parts) - 1)
        budget.check_value(old, destination, next(iter(parts), ""), length)
        labels.append(with_label(old, destination, separator.join(parts), budget))
    unnamed = value.unnamed & (destination != METRIC_NAME)
    return merge_equal(replace(value, labels=labels, unnamed=unnamed))


def absent(present: Vector, expr: Expr, budget: Budget) -> Vector:
    """1 at the steps where nothing is present, labelled with the labels that the selector fixes."""
    missing = ~present.present.any(axis=0)
    if not missing.any():
        return vector([], np.empty((0, missing.size)), np.empty((0, missing.size), np.bool_))
    labels = _fixed_labels(expr)
    for name, text in labels.items():
        budget.check_value({}, name, text, len(text))
    budget.made(labels, 0)
    return vector([labels], np.ones((1, missing.size)), missing.reshape(1, -1))


def _fixed_labels(expr: Expr) -> Labels:
    """Labels a selector asks for exactly once, and by equality."""
    selector = unwrap(expr)
    if isinstance(selector, MatrixSelector):
        selector = selector.selector
    if not isinstance(selector, VectorSelector):
        return {}
    fixed: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in selector.matchers:
        if matcher.name == METRIC_NAME:
            continue
        if matcher.op is MatchOp.EQUAL and matcher.name not in seen:
            fixed[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            fixed.pop(matcher.name, None)
    return {name: text for name, text in fixed.items() if text}


def sort_by_value(value: Vector, *, descending: bool) -> Vector:
    """Series of one step by value, NaN last either way; equal ones by labels."""
    value = value.take(by_labels(value.labels))
    column: F64 = value.values[:, 0]
    order = np.lexsort((-column if descending else column, np.isnan(column)))
    return value.take(order)


def sort_by_label(value: Vector, names: list[str], *, descending: bool) -> Vector:
    """Series by natural order of the named labels, then by all."""
    keys = [
        ([natural(labels.get(name, "")) for name in names], sort_key(labels))
        for labels in checked(value.labels)
    ]
    return value.take(ordered(keys, descending=descending))


def natural(text: str) -> list[tuple[int, int, str, str]]:
    """Sort key in which digits count as numbers: "2" before "10"."""
    return [
        (0, len(part.lstrip("0")), part.lstrip("0"), part)
        if part.isdigit() and part.isascii()
        else (1, 0, "", part)
        for part in _DIGITS.split(text)
        if part
    ]
