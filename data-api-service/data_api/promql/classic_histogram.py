"""Classic histograms: series with `le` labels → quantiles and fractions.

A float without `le` has no quantile: it is left out with a warning.
"""

from dataclasses import replace

import numpy as np

from data_api.model import F64, METRIC_NAME
from data_api.promql.context import Notes
from data_api.promql.kernels import buckets as kernels
from data_api.promql.values import (
    Vector,
    checked,
    empty,
    group_rows,
    key,
    merge_equal,
    stacked,
    without,
)

BUCKET_LABEL = "le"
_ONLY_BUCKET = frozenset({BUCKET_LABEL})


def _bound(text: str | None) -> float | None:
    if text is None or text != text.strip() or "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def classic(value: Vector, first: F64, second: F64 | None, function: str, notes: Notes) -> Vector:
    """Quantile `first` (m,), or the share between `first` and `second`, of each histogram.

    Result rows keep the metric name; the caller drops it.
    """
    bounds: list[float | None] = []
    for labels in checked(value.labels):
        bounds.append(_bound(labels.get(BUCKET_LABEL)))
        if bounds[-1] is None:
            notes.warn(
                f'bucket label "{BUCKET_LABEL}" is missing or has a malformed value of '
                f'"{labels.get(BUCKET_LABEL, "")}"' + _of_metric(labels.get(METRIC_NAME, ""))
            )
    usable = np.flatnonzero([bound is not None for bound in bounds])
    if not usable.size:
        return empty(value.values.shape[1])
    value = value.take(usable)
    uppers = np.array([bounds[row] for row in usable], np.float64)
    rest = [without(labels, _ONLY_BUCKET) for labels in checked(value.labels)]
    groups, firsts = group_rows(frozenset(labels.items()) for labels in rest)
    order = np.lexsort((uppers, groups)).astype(np.int64)
    edges = np.searchsorted(groups[order], np.arange(len(firsts) + 1)).astype(np.int64)
    shape = (len(firsts), value.values.shape[1])
    out, present, forced = np.zeros(shape), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    kernels.classic(
        int(second is not None),
        np.ascontiguousarray(value.values),
        np.ascontiguousarray(value.present),
        uppers,
        order,
        edges,
        first,
        first if second is None else second,
        out,
        present,
        forced,
    )
    forced_groups = np.flatnonzero(forced.any(axis=1)).tolist()
    for group in checked(forced_groups):
        notes.info(
            f"input to {function} needed to be fixed for monotonicity (see https://prometheus.io/"
            f"docs/prometheus/latest/querying/functions/#{function})"
            + _of_metric(rest[firsts[group]].get(METRIC_NAME, ""))
        )
    return Vector([rest[i] for i in firsts], out, present, value.unnamed[firsts])


def joined(classic: Vector, natives: Vector, notes: Notes) -> Vector:
    """Results of both kinds; where one metric has both at one step, neither counts."""
    places = {key(labels): row for row, labels in enumerate(checked(natives.labels))}
    native_present, classic_present = natives.present.copy(), classic.present.copy()
    for row, labels in enumerate(checked(classic.labels)):
        other = places.get(key(labels))
        if other is None:
            continue
        both = classic.present[row] & natives.present[other]
        if both.any():
            notes.warn(
                "vector contains a mix of classic and native histograms"
                + _of_metric(labels.get(METRIC_NAME, ""))
            )
        classic_present[row] &= ~both
        native_present[other] &= ~both
    parts = replace(classic, present=classic_present), replace(natives, present=native_present)
    return merge_equal(stacked(parts)).compact()


def _of_metric(name: str) -> str:
    return f' for metric name "{name}"' if name else ""
