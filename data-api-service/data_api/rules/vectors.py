"""What an expression evaluated to → vectors as rules take them; pure."""

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
    if is_histogram(value.values).any():
        raise RuleError(reason="rule result has native histograms, which rules do not take")
    return list(zip(value.labels, value.values.tolist(), strict=True))


def of_steps(result: Result) -> Iterator[tuple[int, Vector]]:
    """(time, vector) of each step of a range query. Raises RuleError as `of_instant`."""
    value = result.value
    if not isinstance(value, RangeMatrix):
        raise RuleError(reason="rule result is not a vector or scalar")
    if (is_histogram(value.values) & value.present).any():
        raise RuleError(reason="rule result has native histograms, which rules do not take")
    for column, at_ms in enumerate(value.steps_ms.tolist()):
        rows = value.present[:, column].nonzero()[0].tolist()
        yield at_ms, [(value.labels[row], float(value.values[row, column])) for row in rows]
