"""Numbers as Prometheus writes them."""

import math


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
    mantissa, exponent = text.split("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    point = len(whole) + int(exponent)
    digits = whole + fraction
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return sign + digits.ljust(point, "0")
    return f"{sign}{digits[:point]}.{digits[point:]}"


def format_sample(value: float) -> str:
    """As the JSON API writes a sample: with an exponent below 1e-6 and from 1e21 on. Source:
    Prometheus `util/jsonutil`.
    """
    if math.isfinite(value) and value and not 1e-6 <= abs(value) < 1e21:
        return repr(value)
    return format_value(value)


def format_short(value: float) -> str:
    """Shortest form, with an exponent below 1e-4 and from 1e6 on: Go's ``%v``, used in messages."""
    text = format_value(value)
    if not math.isfinite(value) or not value or 1e-4 <= abs(value) < 1e6:
        return text
    whole, _, fraction = text.lstrip("-").partition(".")
    zeros = len(fraction) - len(fraction.lstrip("0"))
    power = len(whole) - 1 if abs(value) >= 1 else -1 - zeros
    digits = (whole + fraction).strip("0")
    rest = f".{digits[1:]}" if digits[1:] else ""
    return f"{'-' * (value < 0)}{digits[0]}{rest}e{power:+03d}"
