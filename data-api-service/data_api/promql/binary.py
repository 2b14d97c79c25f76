"""Operators between two expressions: arithmetic, comparison and sets, with vector matching.

Matching is by label signature. A signature's rows are paired once for all steps; what upstream
decides step by step (two series of one group present at once) then follows from the masks.
Source: Prometheus `VectorBinop`, `VectorAnd`, `VectorOr`, `VectorUnless`, `VectorscalarBinop`.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from data_api.model import F64, I64, METRIC_NAME, Bools, Labels
from data_api.promql.context import Budget
from data_api.promql.errors import EvaluationError
from data_api.promql.native_operators import Operator
from data_api.promql.nodes import COMPARISONS, TRIMS, Binary, Cardinality, Matching
from data_api.promql.values import (
    SCHEMA_LABELS,
    Vector,
    checked,
    empty,
    group_rows,
    key,
    label_keys,
    merge_equal,
    stacked,
    vector,
    without,
)

_ARITHMETIC: dict[str, Callable[[F64, F64], F64]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}
_COMPARISON: dict[str, Callable[[F64, F64], Bools]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}


def scalars(op: str, lhs: F64, rhs: F64) -> F64:
    """Both sides scalars; a comparison gives 1 or 0."""
    if op in _COMPARISON:
        return _COMPARISON[op](lhs, rhs).astype(np.float64)
    if op in TRIMS:
        raise EvaluationError(reason=f'operator "{op}" not allowed for scalars')
    return _ARITHMETIC[op](lhs, rhs)


def changes_meaning(expr: Binary) -> bool:
    """Whether the result is no longer the metric it was computed from."""
    return expr.op not in COMPARISONS | TRIMS or expr.return_bool


def _computed(  # noqa: PLR0917 - both sides and what is known of them
    expr: Binary, lhs: F64, rhs: F64, shown: F64, given: Bools, natives: Operator | None
) -> tuple[F64, Bools]:
    """Values and presence of an operator over pairs (n, m); a comparison lets `shown` pass.

    natives: what computes pairs with a histogram; None where there are none.
    """
    present = given
    if expr.op in _ARITHMETIC:
        values = _ARITHMETIC[expr.op](lhs, rhs)
    elif expr.op in TRIMS:
        values, present = shown, np.zeros_like(given)
    else:
        holds = _COMPARISON[expr.op](lhs, rhs)
        values = holds.astype(np.float64) if expr.return_bool else shown
        if not expr.return_bool:
            present = given & holds
    return (
        (values, present) if natives is None else natives.complete(lhs, rhs, given, values, present)
    )


def vector_scalar(
    expr: Binary, value: Vector, scalar: F64, natives: Operator | None, *, swapped: bool
) -> Vector:
    """A vector and a scalar (m,); names are left to the caller. `swapped`: the scalar is left."""
    lhs, rhs = (scalar, value.values) if swapped else (value.values, scalar)
    values, present = _computed(expr, lhs, rhs, value.values, value.present, natives)
    result = replace(value, values=values, present=present)
    return result if present is value.present else result.compact()


def _signatures(matching: Matching, first: Vector, second: Vector) -> list[Hashable]:
    """Equal for the series of both vectors that belong to one match group."""
    labels = [*first.labels, *second.labels]
    return label_keys(labels, matching.labels, excluded=not matching.on)


def sets(expr: Binary, lhs: Vector, rhs: Vector) -> Vector:
    """`and`, `or`, `unless`: samples pass as they are."""
    assert expr.matching is not None
    if expr.op == "or" and not lhs.rows:
        return rhs
    if not rhs.rows:
        return empty(lhs.values.shape[1]) if expr.op == "and" else lhs
    groups, firsts = group_rows(_signatures(expr.matching, lhs, rhs))
    left, right = groups[: lhs.rows], groups[lhs.rows :]
    shape = (len(firsts), lhs.values.shape[1])
    if expr.op == "or":
        on_left = np.zeros(shape, np.bool_)
        np.logical_or.at(on_left, left, lhs.present)
        added = replace(rhs, present=rhs.present & ~on_left[right]).compact()
        both = stacked([lhs, added])
        if not both.unnamed.any():
            return merge_equal(both)
        # A row that is to lose its name stays apart from an equal one that is not.
        return stacked([merge_equal(both.take(both.unnamed == flag)) for flag in (False, True)])
    on_right = np.zeros(shape, np.bool_)
    np.logical_or.at(on_right, right, rhs.present)
    wanted = on_right[left] if expr.op == "and" else ~on_right[left]
    return replace(lhs, present=lhs.present & wanted).compact()


def vectors(
    expr: Binary,
    lhs: Vector,
    rhs: Vector,
    budget: Budget,
    natives: Operator | None,
    *,
    delayed: bool,
) -> Vector:
    """Arithmetic or comparison of the series that match; `natives` as in `_computed`.

    delayed: names go at the end. Raises EvaluationError, and TooManySamples where the result does
    not fit `budget`.
    """
    matching = expr.matching
    assert matching is not None
    swapped = matching.cardinality is Cardinality.ONE_TO_MANY
    many, one = (rhs, lhs) if swapped else (lhs, rhs)
    fills = matching.fill_left is not None or matching.fill_right is not None
    if not fills and not (many.rows and one.rows):
        return empty(lhs.values.shape[1])
    groups, firsts = group_rows(_signatures(matching, many, one))
    many_groups, one_groups = groups[: many.rows], groups[many.rows :]
    _refuse_duplicates(matching, many, one, one_groups, swapped=swapped)
    if fills:
        row_labels = [*many.labels, *one.labels]
        of_groups = [_group_labels(matching, row_labels[row]) for row in firsts]
        many, one = _filled(matching, many, one, groups, of_groups)
        alone = np.arange(len(firsts))
        many_groups = np.concatenate((many_groups, alone))
        one_groups = np.concatenate((one_groups, alone))
    sizes = np.bincount(one_groups, minlength=int(groups.max(initial=0)) + 1)
    budget.check((pairs := int(sizes[many_groups].sum())) * lhs.values.shape[1], pairs)
    many_rows, one_rows = _pairs(many_groups, one_groups)
    present = many.present[many_rows] & one.present[one_rows]
    labels: Sequence[Labels] = [
        _result_labels(expr, matching, many.labels[i], one.labels[j], budget)
        for i, j in zip(many_rows.tolist(), one_rows.tolist(), strict=True)
    ]
    left, right = many.values[many_rows], one.values[one_rows]
    if swapped:
        left, right = right, left
    values, present = _computed(expr, left, right, left, present, natives)
    distinct = _refuse_ambiguity(matching, many_groups[many_rows], labels, present)
    unnamed = many.unnamed[many_rows]
    if changes_meaning(expr):
        if delayed and expr.return_bool:
            unnamed = np.ones(len(labels), np.bool_)
        else:
            labels = [without(series, SCHEMA_LABELS) for series in checked(labels)]
            unnamed = np.zeros(len(labels), np.bool_)
    result = Vector(labels, values, present, unnamed)
    if fills or not (distinct and _one_result_a_group(matching, many.labels)):
        result = merge_equal(result)
    return result.compact()


def _filled(
    matching: Matching, many: Vector, one: Vector, groups: I64, labels: Sequence[Labels]
) -> tuple[Vector, Vector]:
    """Both sides with one more row for each group: the side's fill value at the steps where the
    group has samples on the other side only. labels: of the groups.
    """
    present = np.zeros((2, len(labels), many.present.shape[1]), np.bool_)
    np.logical_or.at(present[0], groups[: many.rows], many.present)
    np.logical_or.at(present[1], groups[many.rows :], one.present)
    fills = [matching.fill_left, matching.fill_right]
    if matching.cardinality is Cardinality.ONE_TO_MANY:
        fills.reverse()
    for_many, for_one = (np.full(present[0].shape, np.nan if x is None else x) for x in fills)
    lacks_many = present[1] & ~present[0] & (fills[0] is not None)
    lacks_one = present[0] & ~present[1] & (fills[1] is not None)
    return (
        stacked([many, vector(labels, for_many, lacks_many)]),
        stacked([one, vector([{} for _ in labels], for_one, lacks_one)]),
    )


def _group_labels(matching: Matching, labels: Labels) -> Labels:
    """The labels that make a match group."""
    if matching.on:
        return {name: text for name, text in labels.items() if name in matching.labels}
    return without(labels, frozenset(matching.labels) | {METRIC_NAME})


def _one_result_a_group(matching: Matching, labels: Sequence[Labels]) -> bool:
    """Whether results of different groups differ: their labels are what the groups differ in."""
    if matching.cardinality is not Cardinality.ONE_TO_ONE or matching.include:
        return False
    if matching.on:
        return SCHEMA_LABELS.isdisjoint(matching.labels)
    others = SCHEMA_LABELS - {METRIC_NAME}
    return all(others.isdisjoint(series) for series in checked(labels))


def _pairs(many: I64, one: I64) -> tuple[I64, I64]:
    """Indexes of all rows of equal group, in the order of `many`."""
    order = np.argsort(one, kind="stable")
    ascending = one[order]
    starts = np.searchsorted(ascending, many)
    counts = np.searchsorted(ascending, many, side="right") - starts
    before = np.cumsum(counts) - counts
    pairs = np.arange(counts.sum()) + np.repeat(starts - before, counts)
    return np.repeat(np.arange(many.size), counts), order[pairs]


def _result_labels(
    expr: Binary, matching: Matching, many: Labels, one: Labels, budget: Budget
) -> Labels:
    labels = dict(many)
    if expr.op in _ARITHMETIC:
        for name in SCHEMA_LABELS:
            labels.pop(name, None)
    if matching.cardinality is Cardinality.ONE_TO_ONE:
        if matching.on:
            labels = {name: text for name, text in labels.items() if name in matching.labels}
        else:
            for name in matching.labels:
                labels.pop(name, None)
    for name in matching.include:
        if text := one.get(name, ""):
            labels[name] = text
        else:
            labels.pop(name, None)
    budget.made(labels, 0)
    return labels


def _refuse_duplicates(
    matching: Matching, many: Vector, one: Vector, groups: I64, *, swapped: bool
) -> None:
    """The "one" side holds at most one series of a group at any step."""
    numbers, firsts = group_rows(groups.tolist())
    if len(firsts) == one.rows:
        return
    counts = np.zeros((len(firsts), one.present.shape[1]), np.int64)
    np.add.at(counts, numbers, one.present)
    clashes = (counts > 1) & many.present.any(axis=0)
    if not clashes.any():
        return
    number, step = np.argwhere(clashes)[0]
    pair = np.flatnonzero((numbers == number) & one.present[:, step])[:2]
    first, second = (one.labels[i] for i in pair)
    group = _group_labels(matching, first)
    side = "left" if swapped else "right"
    raise EvaluationError(
        reason=f"found duplicate series for the match group {_braced(group)} on the {side} "
        f"hand-side of the operation: [{_braced(second)}, {_braced(first)}]"
        ";many-to-many matching not allowed: matching labels must be unique on one side"
    )


def _refuse_ambiguity(
    matching: Matching, groups: I64, labels: Sequence[Labels], present: Bools
) -> bool:
    """No result is made twice at one step; true when none is made twice at all."""
    keys: Iterable[Hashable]
    if matching.cardinality is Cardinality.ONE_TO_ONE:
        keys = groups.tolist()
        reason = "multiple matches for labels: many-to-one matching must be explicit "
        reason += "(group_left/group_right)"
    else:
        keys = ((group, key(series)) for group, series in zip(groups.tolist(), labels, strict=True))
        reason = "multiple matches for labels: grouping labels must ensure unique matches"
    numbers, firsts = group_rows(keys)
    if len(firsts) == len(labels):
        return True
    counts = np.zeros((len(firsts), present.shape[1]), np.int64)
    np.add.at(counts, numbers, present)
    if (counts > 1).any():
        raise EvaluationError(reason=reason)
    return False


def _braced(labels: Labels) -> str:
    inside = ", ".join(f'{name}="{text}"' for name, text in sorted(labels.items()))
    return f"{{{inside}}}"
