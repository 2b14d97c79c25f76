"""`info(v)`: series with the labels that info metrics tell of their targets.

    v{instance="a", job="x"}  +  target_info{instance="a", job="x", version="2"}
                              ─▶ v{instance="a", job="x", version="2"}

Which labels and which info metrics is said by the second argument; without one, all labels of
`target_info`. A series can have other labels at other steps. Source: Prometheus `promql/info.go`.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from data_api.model import I64, METRIC_NAME, Bools, Columns, Labels, Matcher
from data_api.promql.context import Budget
from data_api.promql.errors import EvaluationError
from data_api.promql.values import Vector, empty, merge_equal

TARGET: Final = ("instance", "job")
"""The labels by which an info metric and a series are of one target."""


class _InfoSeries:
    """What info metrics tell. indexes: (rows, steps), of the sample shown at each step, or -1."""

    def __init__(self, columns: Columns, indexes: I64, matchers: Sequence[Matcher]) -> None:
        others = [matcher for matcher in matchers if matcher.name != METRIC_NAME]
        self._wanted = {matcher.name for matcher in others}
        self.is_needed = not all(matcher.matches_absent() for matcher in others)
        self._labels = columns.labels
        self._present: Bools = indexes >= 0
        times = columns.timestamps_ms[indexes] if columns.samples else indexes
        self._times: I64 = np.where(self._present, times, -1)
        self._rows = defaultdict[tuple[str, ...], list[int]](list)
        for row, labels in enumerate(columns.labels):
            if any(target := _target(labels)):
                self._rows[target].append(row)

    def of(self, labels: Labels) -> Iterator[tuple[list[Labels], Bools]]:
        """The info series of the target of `labels`, and the steps at which it is these."""
        rows = self._rows.get(_target(labels), [])
        if not rows:
            yield [], np.ones(self._present.shape[1], np.bool_)
            return
        shown = self._newest(rows)
        # A step's column of bits is compared as bytes, at once; number by number takes seconds.
        columns = np.ascontiguousarray(np.packbits(shown, axis=0).T)
        keys = columns.view(f"V{columns.shape[1]}").reshape(-1)
        _, firsts, which = np.unique(keys, return_index=True, return_inverse=True)
        for number, first in enumerate(firsts.tolist()):
            infos = [self._labels[rows[at]] for at in np.flatnonzero(shown[:, first]).tolist()]
            yield infos, which.reshape(-1) == number

    def _newest(self, rows: Sequence[int]) -> Bools:
        """(rows, steps): of several series of one info metric the one with the newest sample."""
        shown = self._present[rows].copy()
        of_metric = defaultdict[str, list[int]](list)
        for at, row in enumerate(rows):
            of_metric[self._labels[row][METRIC_NAME]].append(at)
        for metric, places in of_metric.items():
            if len(places) > 1:
                times = self._times[[rows[at] for at in places]]
                shown[places] &= times == times.max(axis=0)
                if (shown[places].sum(axis=0) > 1).any():
                    raise EvaluationError(reason=f"found duplicate series for info metric {metric}")
        return shown

    def joined(self, labels: Labels, infos: Sequence[Labels]) -> Labels:
        """`labels` and the wanted ones of `infos` that it has not itself."""
        added: dict[str, str] = {}
        for info in infos:
            for name, value in info.items():
                if name == METRIC_NAME or (self._wanted and name not in self._wanted):
                    continue
                if added.setdefault(name, value) != value:
                    raise EvaluationError(reason=f"conflicting label: {name}")
        return {**added, **labels}


def enriched(
    value: Vector, columns: Columns, indexes: I64, matchers: Sequence[Matcher], budget: Budget
) -> Vector:
    """`value` with what the selected info series tell; info series themselves stay as they are.

    columns, indexes: as `select` gives them for the selector of `matchers`. Raises EvaluationError
    where info metrics contradict one another.
    """
    info = _InfoSeries(columns, indexes, matchers)
    of_info = [matcher.predicate() for matcher in matchers if matcher.name == METRIC_NAME]
    rows: list[int] = []
    all_labels: list[Labels] = []
    masks: list[Bools] = []
    for row, labels in enumerate(value.labels):
        present = value.present[row]
        if all(matches(labels.get(METRIC_NAME, "")) for matches in of_info):
            parts = iter([(labels, present)])
        else:
            parts = (
                (info.joined(labels, infos), present & steps)
                for infos, steps in info.of(labels)
                if infos or not info.is_needed
            )
        for joined, mask in parts:
            if mask.any():
                budget.made(joined, 0)
                rows.append(row)
                all_labels.append(joined)
                masks.append(mask)
        budget.check(len(rows) * present.size)
    if not rows:
        return empty(value.present.shape[1])
    return merge_equal(Vector(all_labels, value.values[rows], np.array(masks), value.unnamed[rows]))


def _target(labels: Labels) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in TARGET)
