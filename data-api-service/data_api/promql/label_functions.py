"""Functions of labels: replace, join and sort, and the labels of `absent`."""

import re
from dataclasses import replace

import numpy as np
import re2

from data_api.model import F64, METRIC_NAME, Labels, MatchOp, compile_regex
from data_api.promql.errors import EvaluationError
from data_api.promql.nodes import Expr, MatrixSelector, VectorSelector, unwrap
from data_api.promql.values import Vector, merge_equal, sort_key, vector

_REFERENCE = re.compile(r"\$(?:\$|([A-Za-z0-9_]+)|\{([A-Za-z0-9_]+)\})?")
_DIGITS = re.compile(r"([0-9]+)")


def _set(labels: Labels, name: str, value: str) -> Labels:
    changed = dict(labels)
    if value:
        changed[name] = value
    else:
        changed.pop(name, None)
    return changed


def _check_destination(name: str, function: str) -> None:
    if not name:
        raise EvaluationError(reason=f'invalid destination label name in {function}(): "{name}"')


def label_replace(
    value: Vector, destination: str, replacement: str, source: str, pattern: str
) -> Vector:
    """`destination` set to the expanded replacement wherever the whole source value matches."""
    try:
        program = compile_regex(pattern)
    except re2.error as exc:
        raise EvaluationError(
            reason=f'invalid regular expression in label_replace(): "{pattern}"'
        ) from exc
    _check_destination(destination, "label_replace")
    labels: list[Labels] = []
    unnamed = value.unnamed.copy()
    for row, old in enumerate(value.labels):
        match = program.fullmatch(old.get(source, ""))
        if match is None:
            labels.append(old)
            continue
        labels.append(_set(old, destination, _expand(replacement, match)))
        if destination == METRIC_NAME:
            unnamed[row] = False
    return merge_equal(replace(value, labels=labels, unnamed=unnamed))


def _expand(template: str, match: re2._Match) -> str:
    """Go's `Regexp.Expand`: `$1`, `$name`, `${1}x`, `$$`; an unknown group is empty."""

    def group(reference: re.Match[str]) -> str:
        if reference.group() == "$$":
            return "$"
        name = reference.group(1) or reference.group(2)
        if name is None:
            return "$"
        if name.isdigit():
            number = int(name) if len(name) < 9 else match.re.groups + 1
            return (match.group(number) or "") if number <= match.re.groups else ""
        return (match.group(name) or "") if name in match.re.groupindex else ""

    return _REFERENCE.sub(group, template)


def label_join(value: Vector, destination: str, separator: str, sources: list[str]) -> Vector:
    """`destination` set to the values of the sources, joined."""
    _check_destination(destination, "label_join")
    labels = [
        _set(old, destination, separator.join(old.get(source, "") for source in sources))
        for old in value.labels
    ]
    unnamed = value.unnamed & (destination != METRIC_NAME)
    return merge_equal(replace(value, labels=labels, unnamed=unnamed))


def absent(present: Vector, expr: Expr) -> Vector:
    """1 at the steps where nothing is present, labelled with the labels that the selector fixes."""
    missing = ~present.present.any(axis=0)
    if not missing.any():
        return vector([], np.empty((0, missing.size)), np.empty((0, missing.size), np.bool_))
    return vector([_fixed_labels(expr)], np.ones((1, missing.size)), missing.reshape(1, -1))


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
    """Series of one step by value, NaN last either way."""
    column: F64 = value.values[:, 0]
    order = np.lexsort((-column if descending else column, np.isnan(column)))
    return value.take(order)


def sort_by_label(value: Vector, names: list[str], *, descending: bool) -> Vector:
    """Series by natural order of the named labels, then by all."""
    order = sorted(
        range(value.rows),
        key=lambda row: (
            [natural(value.labels[row].get(name, "")) for name in names],
            sort_key(value.labels[row]),
        ),
        reverse=descending,
    )
    return value.take(np.array(order, np.int64))


def natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key in which digits count as numbers: "2" before "10"."""
    return [
        (0, int(part), part) if part.isdigit() and part.isascii() else (1, 0, part)
        for part in _DIGITS.split(text)
        if part
    ]
