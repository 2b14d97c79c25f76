"""Operators and aggregations where samples are native histograms.

Each cell (series, step) of such operands is computed by itself; the others are the float code's.
Source: Prometheus `vectorElemBinop`, `aggregation` in `promql/engine.go`.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from data_api.model import F64, I64, Bools, is_histogram
from data_api.native_histogram import (
    Hint,
    Histogram,
    IncompatibleBucketsError,
    aligned,
    joined_hint,
)
from data_api.promql.context import Notes
from data_api.promql.native_histogram_functions import text, trimmed
from data_api.promql.native_windows import SUMS, summed
from data_api.promql.nodes import TRIMS, Binary
from data_api.promql.pool import Pool
from data_api.promql.values import Vector, checked

CELLS_A_CHECKPOINT: Final = 256
OF_BOTH_KINDS: Final = frozenset({"count", "group", "count_values", "limitk", "limit_ratio"})
CONFLICTS: Final = {"+": "addition", "-": "subtraction"}


@dataclass(frozen=True, slots=True)
class Operator:
    """A binary operator of samples of either kind."""

    expr: Binary
    pool: Pool
    notes: Notes

    def complete(
        self, lhs: F64, rhs: F64, given: Bools, values: F64, present: Bools
    ) -> tuple[F64, Bools]:
        """`values` and `present` (n, m) of the float code, replaced where an operand is a
        histogram; `given`: where both operands are present.
        """
        lhs, rhs = np.broadcast_arrays(lhs, rhs)
        sides = is_histogram(lhs), is_histogram(rhs)
        cells = given & (sides[0] | sides[1])
        if not cells.any():
            return values, present
        values, present = values.copy(), present & ~cells
        for row, step in checked(np.argwhere(cells).tolist(), CELLS_A_CHECKPOINT):
            left, right = (
                self.pool.of(side[row, step : step + 1])[0]
                if native[row, step]
                else float(side[row, step])
                for side, native in zip((lhs, rhs), sides, strict=True)
            )
            result = self._cell(left, right)
            if isinstance(result, Histogram):
                values.view(np.int64)[row, step] = self.pool.add(result)
            elif result is not None:
                values[row, step] = result
            present[row, step] = result is not None
        return values, present

    def _cell(  # noqa: PLR0911 - a case a pair
        self, left: Histogram | float, right: Histogram | float
    ) -> Histogram | float | None:
        """The value of one pair, at least one of which is a histogram; None when it has none."""
        op = self.expr.op
        if isinstance(left, Histogram) and isinstance(right, Histogram):
            if op in CONFLICTS:
                return self._sum(left, right, CONFLICTS[op])
            if op in {"==", "!="}:
                holds = left.equals(right) is (op == "==")
                if self.expr.return_bool:
                    return float(holds)
                return left if holds else None
        elif isinstance(left, Histogram):
            assert isinstance(right, float)
            if op in {"*", "/"}:
                return left.times(right) if op == "*" else left.divided(right)
            if op in TRIMS:
                return trimmed(right, left, keeps_below=op == "</")
        elif op == "*":
            assert isinstance(right, Histogram)
            return right.times(left)
        kinds = ["histogram" if isinstance(x, Histogram) else "float" for x in (left, right)]
        self.notes.info(
            f'incompatible sample types encountered for binary operator "{op}": '
            f"{kinds[0]} {op} {kinds[1]}"
        )
        return None

    def _sum(self, left: Histogram, right: Histogram, operation: str) -> Histogram | None:
        try:
            both = aligned([left, right])
        except IncompatibleBucketsError:
            self.notes.warn(
                f"incompatible bucket layout encountered for binary operator {self.expr.op}"
            )
            return None
        hint, is_conflict = joined_hint([left, right])
        if is_conflict:
            self.notes.conflicting(operation)
        if both.is_reconciled:
            self.notes.reconciled(operation)
        if operation == "addition":
            return both.histogram(both.rows[0] + both.rows[1], hint)
        return both.histogram(both.rows[0] - both.rows[1], Hint.GAUGE)


def floats_of(op: str, value: Vector, natives: Bools, notes: Notes) -> Vector:
    """What the float code aggregates of `value`; `natives`: which samples are histograms."""
    if op in OF_BOTH_KINDS:
        return value
    if op not in SUMS:
        notes.info(f"ignored histogram in {op} aggregation")
    return replace(value, present=value.present & ~natives)


@dataclass(frozen=True, slots=True)
class Sums:
    """The samples of an aggregation's operand that are histograms (`natives`)."""

    value: Vector
    natives: Bools
    pool: Pool
    notes: Notes

    def complete(self, op: str, groups: I64, out: F64, present: Bools) -> None:
        """Replace in `out` and `present` (groups, steps) the sums and means of histograms: absent
        where a group has floats too, or both kinds of buckets. Other operators stay as they are.
        """
        if op not in SUMS:
            return
        cells: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row, step in np.argwhere(self.natives).tolist():
            cells[int(groups[row]), step].append(row)
        for (group, step), rows in checked(list(cells.items()), CELLS_A_CHECKPOINT):
            if present[group, step]:
                self.notes.warn("encountered a mix of histograms and floats for aggregation")
                present[group, step] = False
                continue
            histograms = self.pool.of(self.value.values[rows, step])
            try:
                result = summed(op, histograms, None, self.notes)
            except IncompatibleBucketsError:
                self.notes.incompatible()
                continue
            out.view(np.int64)[group, step] = self.pool.add(result)
            present[group, step] = True

    def named(self, samples: F64, numbers: I64, texts: list[str]) -> list[str]:
        """`texts` and those of the histograms among `samples`, whose `numbers` become the places of
        their texts.
        """
        places = np.flatnonzero(is_histogram(samples))
        added: dict[str, int] = {}
        histograms = checked(self.pool.of(samples[places]), CELLS_A_CHECKPOINT)
        for place, histogram in zip(places.tolist(), histograms, strict=True):
            numbers[place] = added.setdefault(text(histogram), len(texts) + len(added))
        return [*texts, *added]
