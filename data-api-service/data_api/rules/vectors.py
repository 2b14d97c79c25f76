"""What an expression evaluated to → vectors as rules take them; pure. Native histograms, which
neither an alert nor a sample to write can be, are left out.
"""

from collections.abc import Iterator

from data_api.model import InstantVector, RangeMatrix, Result, Scalar, is_histogram
from data_api.rules.alerting import RuleError
from data_api.rules.model import Vector


def of_instant(result: Result) -> Vector:
    """The vector of an instant query; a scalar is a series without labels. Raises RuleError."""
    value = result.value
    if isinstance(value, Scalar):
        return [({}, value.value)]
    if not isinstance(value, InstantVector):
        raise RuleError(reason="rule result is not a vector or scalar")
    floats = (~is_histogram(value.values)).tolist()
    samples = zip(value.labels, value.values.tolist(), floats, strict=True)
    return [(labels, sample) for labels, sample, is_float in samples if is_float]


def of_steps(matrix: RangeMatrix) -> Iterator[tuple[int, Vector]]:
    """(time, vector) of each step of a range query."""
    present = matrix.present & ~is_histogram(matrix.values)
    for column, at_ms in enumerate(matrix.steps_ms.tolist()):
        rows = present[:, column].nonzero()[0].tolist()
        yield at_ms, [(matrix.labels[row], float(matrix.values[row, column])) for row in rows]
