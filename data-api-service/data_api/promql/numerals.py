"""Numbers as Prometheus writes them."""

import math

import numpy as np


def format_value(value: float) -> str:
    """Shortest decimal that reads back as `value`, without an exponent: Go's ``'f', -1``.

    This is how `count_values` writes a sample. NaN, +Inf and -Inf by those names.
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
    return np.format_float_positional(value, trim="-")


def format_sample(value: float) -> str:
    """As the JSON API writes a sample: with an exponent below 1e-6 and from 1e21 on. Source:
    Prometheus `util/jsonutil`.
    """
    if math.isfinite(value) and value and not 1e-6 <= abs(value) < 1e21:
        return repr(value)
    return format_value(value)


def format_short(value: float) -> str:
    """Shortest form, with an exponent below 1e-4 and from 1e6 on: Go's ``%v``, used in messages."""
    if not math.isfinite(value) or not value or 1e-4 <= abs(value) < 1e6:
        return format_value(value)
    return np.format_float_scientific(value, trim="-")
