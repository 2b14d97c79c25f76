"""Operators that make few series of many: sum, topk, quantile, count_values …"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xxhash

from data_api.model import F64, I64, METRIC_NAME, Labels
from data_api.promql.context import Budget
from data_api.promql.errors import EvaluationError
from data_api.promql.kernels import grouping as kernels
from data_api.promql.label_functions import with_label
from data_api.promql.native_operators import Sums
from data_api.promql.nodes import Aggregate
from data_api.promql.numerals import format_short, format_value
from data_api.promql.values import (
    Vector,
    by_labels,
    checked,
    checkpoint,
    empty,
    group_rows,
    label_keys,
    merge_equal,
    without,
)

WORK_MAX = 4_000_000
"""Values sorted between two checkpoints: a fraction of a second."""
_FOLDS = {
    "sum": kernels.SUM,
    "avg": kernels.AVG,
    "min": kernels.MIN,
    "max": kernels.MAX,
    "count": kernels.COUNT,
    "group": kernels.GROUP,
    "stddev": kernels.STDDEV,
    "stdvar": kernels.STDVAR,
}


def evaluate(
    expr: Aggregate,
    value: Vector,
    param: F64 | str | None,
    budget: Budget,
    natives: Sums | None = None,
) -> Vector:
    """The aggregation of a vector; `param` is the operator's own (m,) or label name.

    natives: the histograms among the samples, those that `value` has left out included.

    Raises EvaluationError, and TooManySamples where the result does not fit `budget`.
    """
    if expr.op == "limit_ratio":
        assert isinstance(param, np.ndarray)
        return _share(value, param)
    if expr.op in {"topk", "bottomk", "limitk"}:
        assert isinstance(param, np.ndarray)
        counts = _whole(param)
        value = value.take(by_labels(value.labels))
        groups, _ = group_rows(label_keys(value.labels, expr.grouping, excluded=expr.without))
        return _choose(expr.op, value, groups, counts)
    if not value.rows:
        return empty(value.values.shape[1])
    if expr.op == "count_values":
        assert isinstance(param, str)
        return _count_values(expr, param, value, budget, natives)
    groups, firsts = group_rows(label_keys(value.labels, expr.grouping, excluded=expr.without))
    labels = _group_labels(expr, [value.labels[row] for row in firsts], budget)
    shape = (len(firsts), value.values.shape[1])
    out, present = np.zeros(shape), np.zeros(shape, np.bool_)
    values = np.ascontiguousarray(value.values)
    given = np.ascontiguousarray(value.present)
    if expr.op == "quantile":
        assert isinstance(param, np.ndarray)
        order = np.argsort(groups, kind="stable")
        bounds = np.searchsorted(groups[order], np.arange(len(firsts) + 1)).astype(np.int64)
        for steps in _slices(shape[1], value.rows):
            part = (shape[0], param[steps].size)
            some, some_present = np.zeros(part), np.zeros(part, np.bool_)
            kernels.quantile(
                np.ascontiguousarray(values[:, steps]),
                np.ascontiguousarray(given[:, steps]),
                order,
                bounds,
                np.ascontiguousarray(param[steps]),
                some,
                some_present,
            )
            out[:, steps], present[:, steps] = some, some_present
    else:
        kernels.aggregate(_FOLDS[expr.op], values, given, groups, out, present)
        if natives is not None:
            natives.complete(expr.op, groups, out, present)
    unnamed = np.zeros(len(firsts), np.bool_)
    if not expr.without and METRIC_NAME in expr.grouping:
        np.logical_or.at(unnamed, groups, value.unnamed)
    result = Vector(labels, out, present, unnamed)
    return result if natives is None else result.compact()


def _slices(steps: int, rows: int) -> Iterator[slice]:
    """The steps in slices of about WORK_MAX values, each after a checkpoint: a kernel or a sort
    cannot be interrupted.
    """
    width = max(1, WORK_MAX // max(1, rows))
    for first in range(0, steps, width):
        checkpoint()
        yield slice(first, first + width)


def _group_labels(expr: Aggregate, labels: Sequence[Labels], budget: Budget) -> list[Labels]:
    """The labels of each group, given those of one of its rows."""
    names = sorted(set(expr.grouping))
    dropped = frozenset(expr.grouping) | {METRIC_NAME}
    groups = []
    for row in labels:
        if expr.without:
            group = without(row, dropped)
        else:
            group = {name: row[name] for name in names if name in row}
        budget.made(group, 0)
        groups.append(group)
    return groups


def _whole(param: F64) -> I64:
    """How many series to keep at each step; a huge number means all."""
    for k in param:
        if math.isnan(k):
            raise EvaluationError(reason="Parameter value is NaN")
        if not -(2**63) <= k <= 2**63 - 513:
            raise EvaluationError(reason=f"Scalar value {format_short(float(k))} overflows int64")
    return np.clip(param, 0, 2**31).astype(np.int64)


def _share(value: Vector, ratios: F64) -> Vector:
    """The series whose place among all is below the ratio; below zero, those that its complement
    leaves. A series' place is its labels' hash, so it is the same in each query.
    """
    if np.isnan(ratios).any():
        raise EvaluationError(reason="Ratio value is NaN")
    hashes = [xxhash.xxh64_intdigest(_encoded(labels)) for labels in checked(value.labels)]
    places = np.array(hashes, np.float64).reshape(-1, 1) / 2.0**64
    is_chosen = np.where(ratios >= 0, places < ratios, places >= 1.0 + ratios)
    return replace(value, present=value.present & is_chosen).compact()


def _encoded(labels: Labels) -> bytes:
    """The bytes that Prometheus hashes. Source: `labels_stringlabels.go`, `encodeSize`."""
    parts: list[bytes] = []
    for text in (part for pair in sorted(labels.items()) for part in pair):
        octets = text.encode()
        size = len(octets)
        parts += [bytes([size]) if size < 255 else b"\xff" + size.to_bytes(3, "little"), octets]
    return b"".join(parts)


def _choose(op: str, value: Vector, groups: I64, counts: I64) -> Vector:
    """The first rows of each group at each step: by value, of equals and for limitk by labels.

    At a single step rows come back ordered, group by group: that order is the answer's. One sort
    for all groups: groups are many when they are small.
    """
    if not value.rows:
        return value
    shape = value.present.shape
    # A group has all its rows at every step, the absent ones last, so it begins at one place.
    begins = np.searchsorted(np.sort(groups), np.arange(int(groups.max()) + 1))
    is_chosen = np.empty(shape, np.bool_)
    for steps in _slices(shape[1], value.rows):
        some = Vector(value.labels, value.values[:, steps], value.present[:, steps], value.unnamed)
        order = _order(op, some, groups)
        ranks = np.empty(order.shape, np.int64)
        np.put_along_axis(
            ranks, order, np.arange(value.rows)[:, None] - begins[groups[order]], axis=0
        )
        is_chosen[:, steps] = ranks < counts[steps]
    chosen = replace(value, present=is_chosen & value.present)
    if shape[1] == 1:
        chosen = chosen.take(order[:, 0])
    return chosen.compact()


def _order(op: str, value: Vector, groups: I64) -> I64:
    """At each step the rows, group by group, as `op` prefers them; the absent ones last."""
    by_group = np.broadcast_to(groups[:, None], value.present.shape)
    keys: list[Any] = [~value.present, by_group]  # arrays of several types, least important first
    if op != "limitk":
        ranked = -value.values if op == "topk" else value.values
        keys = [ranked, np.isnan(ranked), *keys]
    order: I64 = np.lexsort(keys, axis=0)
    return order


def _count_values(
    expr: Aggregate, name: str, value: Vector, budget: Budget, natives: Sums | None
) -> Vector:
    """How many series of a group have each value. The value is the label `name` before there are
    groups: of `by` it is always one more, of `without` it may be what is left out.
    """
    if not name:
        raise EvaluationError(reason=f'invalid label name "{name}"')
    is_left_out = expr.without and name in expr.grouping
    others = {*expr.grouping, name} if expr.without else {*expr.grouping} - {name}
    by_others = replace(expr, grouping=tuple(sorted(others)))
    groups, firsts = group_rows(label_keys(value.labels, by_others.grouping, excluded=expr.without))
    group_labels = _group_labels(by_others, [value.labels[row] for row in firsts], budget)
    rows, steps = np.nonzero(value.present)
    samples = value.values[rows, steps]
    values, inverse = np.unique(samples, return_inverse=True)
    inverse = inverse.reshape(-1)
    texts = [""]
    if is_left_out:
        inverse = np.zeros_like(inverse)
    else:  # each text becomes a label of a row at least
        budget.check(values.size * value.values.shape[1])
        texts = [format_value(value) for value in checked(values.tolist())]
        if natives is not None:
            texts = natives.named(samples, inverse, texts)
    pairs, indexes = np.unique(groups[rows] * len(texts) + inverse, return_inverse=True)
    budget.check(pairs.size * value.values.shape[1])
    out = np.zeros((pairs.size, value.values.shape[1]))
    np.add.at(out, (indexes.reshape(-1), steps), 1.0)
    labels = [
        with_label(group_labels[pair // len(texts)], name, texts[pair % len(texts)], budget)
        for pair in pairs.tolist()
    ]
    return merge_equal(Vector(labels, out, out > 0, np.zeros(pairs.size, np.bool_)))
